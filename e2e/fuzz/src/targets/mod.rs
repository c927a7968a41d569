//! What is fuzzed.

mod actions;
mod annotations;
mod document;
mod inject;
mod review;
mod sidecar;
mod text;
mod wire;

use exeat_crds::reason::Reason;

use crate::engine::Target;

/// Names of all targets, with how many inputs each takes in the pass of the ordinary tests.
pub const ALL: [(&str, u64); 8] = [
    ("actions", 3_000),
    ("annotations", 3_000),
    ("document", 1_500),
    ("inject", 2_000),
    ("review", 1_000),
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

/// Where and why something was refused, without the names that its author chose.
fn refusal(message: &str) -> String {
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str()).filter(|reason| message.contains(reason));
    let mut fields = Vec::new();
    let mut rest = message;
    while let Some(at) = rest.find("spec.").or(rest.find("annotation ")) {
        let field = rest[at..].split(": ").next().unwrap_or_default();
        let outside = field.split('[').map(|part| part.split(']').next_back().unwrap_or_default());
        fields.push(outside.collect::<String>().chars().take(48).collect::<String>());
        rest = &rest[at + field.len()..];
    }
    class(reasons.chain(fields.iter().map(String::as_str)))
}
