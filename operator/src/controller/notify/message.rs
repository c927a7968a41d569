//! Items as one bounded message. Pure.

use super::args::Format;
use super::item::Item;
use super::slack;
use serde_json::json;

/// Most bytes of a generic message; what does not fit comes with the next one.
const MAX_BODY: usize = 256 * 1024;
/// Most items of a generic message.
const MAX_ITEMS: usize = 100;
/// Version of the generic format: it grows when a reader of the former one would misread the new one.
const VERSION: u32 = 1;

/// One body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// JSON.
    pub body: Vec<u8>,
    /// So many of the items, from the first on, are told by it.
    pub told: usize,
}

/// As many of the items as one message may tell of: the first one at least.
///
/// # Errors
/// Text that can't be JSON; there is none.
pub fn message(format: Format, cluster: &str, items: &[Item]) -> serde_json::Result<Message> {
    match format {
        Format::Generic => generic(cluster, items),
        Format::Slack => {
            let body = serde_json::to_vec(&json!({"text": slack::text(cluster, items)}))?;
            Ok(Message { body, told: items.len() })
        }
    }
}

fn generic(cluster: &str, items: &[Item]) -> serde_json::Result<Message> {
    let (mut size, mut told) = (0, 0);
    for item in items.iter().take(MAX_ITEMS) {
        size += serde_json::to_vec(item)?.len();
        if told > 0 && size > MAX_BODY {
            break;
        }
        told += 1;
    }
    let body = json!({"version": VERSION, "cluster": cluster, "items": items.get(..told).unwrap_or_default()});
    Ok(Message { body: serde_json::to_vec(&body)?, told })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
