//! The annotation `exeat.dev/allow`, by which a pod asks for less than its policy allows.
//!
//! Either the policy's own shape as YAML or JSON (`[{actions: [...], resources: [...]}]`), or one statement a line:
//!
//! ```text
//! s3:GetObject,s3:ListBucket on arn:aws:s3:::reports,arn:aws:s3:::reports/2026/*
//! get pods, list pods on agents/*
//! ```
//!
//! Items that hold a comma need the first form.

use super::statement::{GrantError, Statement};
use crate::reason::Reason;
use serde::Deserialize;

/// Longest annotation, bytes.
pub const MAX_NARROWING: usize = 4096;

const FIELD: &str = "metadata.annotations[exeat.dev/allow]";
const SHORT_FORM: &str =
    "write one statement a line: actions on resources, for instance s3:GetObject on arn:aws:s3:::reports/*";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    actions: Vec<String>,
    resources: Vec<String>,
}

/// Reads the annotation. Its actions and resources are judged by [`super::grant()`].
///
/// # Errors
/// `AnnotationInvalid` with what is wrong and how to write it.
pub fn parse_narrowing(annotation: &str) -> Result<Vec<Statement>, GrantError> {
    if annotation.len() > MAX_NARROWING {
        return Err(invalid(
            format!("it is {} bytes long, at most {MAX_NARROWING} are taken", annotation.len()),
            "use fewer or shorter patterns, or a policy of its own",
        ));
    }
    let text = annotation.trim();
    if text.is_empty() {
        return Err(invalid(
            "it is empty",
            "write what the pod needs, or remove the annotation to get all that the policy allows",
        ));
    }
    if text.starts_with(['[', '{']) || text.starts_with("- ") || text.starts_with("-\n") {
        return parse_list(annotation);
    }
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| parse_line(i + 1, line))
        .collect()
}

fn parse_list(text: &str) -> Result<Vec<Statement>, GrantError> {
    let list: Vec<Strict> = serde_saphyr::from_str(text).map_err(|e| {
        // Its further lines show the text around the fault.
        let told = e.to_string();
        let told = told.lines().next().unwrap_or_default();
        invalid(
            format!("it is no list of statements: {}", crate::text::sanitize(told)),
            "write [{\"actions\": [\"…\"], \"resources\": [\"…\"]}], as in the policy's spec.allow",
        )
    })?;
    if list.is_empty() {
        return Err(invalid(
            "its list is empty",
            "write a statement, or remove the annotation to get all that the policy allows",
        ));
    }
    Ok(list.into_iter().map(|s| Statement { actions: s.actions, resources: s.resources }).collect())
}

fn parse_line(number: usize, line: &str) -> Result<Statement, GrantError> {
    let Some((actions, resources)) = line.split_once(" on ") else {
        return Err(invalid(format!("line {number} has no \" on \" between actions and resources"), SHORT_FORM));
    };
    let items = |name: &str, text: &str| -> Result<Vec<String>, GrantError> {
        text.split(',')
            .map(|item| match item.trim() {
                "" => Err(invalid(format!("line {number} has an empty item in its {name}"), SHORT_FORM)),
                item => Ok(item.to_owned()),
            })
            .collect()
    };
    Ok(Statement { actions: items("actions", actions)?, resources: items("resources", resources)? })
}

fn invalid(problem: impl Into<String>, fix: &str) -> GrantError {
    GrantError::new(Reason::AnnotationInvalid, FIELD, problem, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(actions: &[&str], resources: &[&str]) -> Statement {
        let own = |items: &[&str]| items.iter().map(|s| (*s).to_owned()).collect();
        Statement { actions: own(actions), resources: own(resources) }
    }

    #[test]
    fn all_forms_mean_the_same() {
        let expected = vec![
            statement(&["s3:GetObject", "s3:ListBucket"], &["arn:aws:s3:::reports", "arn:aws:s3:::reports/2026/*"]),
            statement(&["get pods"], &["agents/*"]),
        ];
        let short = "s3:GetObject,s3:ListBucket on arn:aws:s3:::reports, arn:aws:s3:::reports/2026/*\n\n get pods on agents/*\n";
        let yaml = "- actions: [s3:GetObject, s3:ListBucket]\n  resources:\n  - arn:aws:s3:::reports\n  - arn:aws:s3:::reports/2026/*\n- {actions: [get pods], resources: [agents/*]}\n";
        let json = serde_json::to_string(&expected).unwrap();
        for text in [short, yaml, &format!("\n{yaml}"), &json] {
            assert_eq!(parse_narrowing(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_fault_of_the_list_is_told_in_one_line() {
        for text in ["[", "[{actions: [a], resources: [b], \"e\\u001b\\nf\": c}]", "- &a [*a]\n- \u{7f}"] {
            let message = parse_narrowing(text).unwrap_err().to_string();
            assert!(!message.chars().any(char::is_control) && message.len() < 1024, "{message:?}");
        }
    }

    #[test]
    fn each_fault_names_itself_and_the_fix() {
        let long = "x".repeat(MAX_NARROWING + 1);
        for (text, problem, fix) in [
            ("  \n", "is empty", "remove the annotation"),
            ("[]", "list is empty", "remove the annotation"),
            ("s3:GetObject", "line 1 has no \" on \"", "s3:GetObject on arn"),
            ("get pods on agents/*\nget pods", "line 2", "one statement a line"),
            ("s3:GetObject, on arn:aws:s3:::b", "empty item in its actions", "one statement a line"),
            ("[{actions: [a]}]", "missing field `resources`", "spec.allow"),
            ("[{actions: [a], resources: [b], effect: Deny}]", "unknown field `effect`", "spec.allow"),
            ("{actions: [a], resources: [b]}", "no list of statements", "spec.allow"),
            (long.as_str(), "4097 bytes", "at most 4096"),
        ] {
            let error = parse_narrowing(text).unwrap_err();
            assert_eq!(error.code(), "AnnotationInvalid");
            let message = error.to_string();
            assert!(message.contains(FIELD) && message.contains(problem) && message.contains(fix), "{text}: {message}");
        }
    }
}
