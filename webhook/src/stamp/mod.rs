//! What the webhook writes into objects in the name of who wrote them, as the API server has proved it. Pure: the object before and after,
//! the user and the time in; a patch or a refusal out. The admission policies check the same again without us, but for the time.

mod annotation;
mod approval;

use exeat_crds::approval::Writer;
use k8s_openapi::api::authentication::v1::UserInfo;

pub use self::annotation::{last_editor, requester};
pub use self::approval::{approval, unstamped};

/// Who writes.
pub fn writer(user: &UserInfo) -> Writer<'_> {
    Writer {
        username: user.username.as_deref().unwrap_or_default(),
        uid: user.uid.as_deref(),
        groups: user.groups.as_deref().unwrap_or_default(),
    }
}
