//! What the schema of our kinds can't say.
//!
//! What is wrong whatever else exists is an error. What depends on another object (which may be applied a moment
//! later), and fields that are not built yet, are warnings: the object's own conditions say the same.

mod approval;
mod policy;
mod provider;
mod session;

use exeat_crds::duration;
use exeat_crds::reason::{Reason, Refused};
use jiff::{SignedDuration, Timestamp};

use crate::message::refused;

pub use self::approval::approval;
pub use self::policy::policy;
pub use self::provider::provider;
pub use self::session::session;

/// What is found in an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Why it is refused.
    pub errors: Vec<Refused>,
    /// What its author should know.
    pub warnings: Vec<Refused>,
}

impl Findings {
    /// A duration that can't be read is an error and counts as absent.
    fn duration(&mut self, field: &str, text: Option<&String>) -> Option<SignedDuration> {
        match duration::parse(text?) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.errors.push(Refused::new(Reason::DurationInvalid, format!("{field}: {error}")));
                None
            }
        }
    }

    fn time(&mut self, field: &str, text: &str) {
        if let Err(error) = text.parse::<Timestamp>() {
            let problem = format!("{text:?} is no time ({error})");
            self.errors.push(refused(
                Reason::DurationInvalid,
                field,
                problem,
                "write RFC 3339 UTC, as 2026-01-31T12:00:00Z",
            ));
        }
    }

    fn not_built(&mut self, field: &str) {
        let fix = "remove it; until then nothing is granted";
        self.warnings.push(refused(Reason::NotImplemented, field, "it is not implemented in this version", fix));
    }
}
