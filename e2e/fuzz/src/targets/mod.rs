//! What is fuzzed.

mod actions;
mod annotations;
mod document;
mod inject;
mod review;
mod sidecar;
mod text;
mod wire;

use crate::engine::Target;

/// Names of all targets, with how many inputs each takes in the pass of the ordinary tests.
pub const ALL: [(&str, u64); 8] = [
    ("actions", 5_000),
    ("annotations", 10_000),
    ("document", 5_000),
    ("inject", 10_000),
    ("review", 2_000),
    ("sidecar", 1_500),
    ("text", 10_000),
    ("wire", 10_000),
];

/// The target of that name.
///
/// # Errors
/// When there is none, or it can't be set up.
pub fn named(name: &str) -> Result<Box<dyn Target>, String> {
    Ok(match name {
        "actions" => Box::new(actions::Actions),
        "annotations" => Box::new(annotations::Annotations::new()?),
        "document" => Box::new(document::Documents),
        "inject" => Box::new(inject::Inject::new()?),
        "review" => Box::new(review::Review::new()?),
        "sidecar" => Box::new(sidecar::Sidecar::new()?),
        "text" => Box::new(text::Text),
        "wire" => Box::new(wire::Wire),
        other => return Err(format!("no target {other:?}; there are {}", ALL.map(|(name, _)| name).join(", "))),
    })
}

/// What an oracle says where `held` is false.
fn must(held: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if held { Ok(()) } else { Err(what()) }
}

/// A class from parts in any order.
fn class<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    parts.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("+")
}
