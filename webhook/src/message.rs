//! How a refusal is worded: the field, what is wrong with it, and the fix.

use std::fmt::Display;

use exeat_crds::approval::Needed;
use exeat_crds::reason::{Reason, Refused};

/// `<field>: <problem>; <fix>`.
pub(crate) fn refused(reason: Reason, field: impl Display, problem: impl Display, fix: impl Display) -> Refused {
    Refused::new(reason, format!("{field}: {problem}; {fix}"))
}

/// All refusals as one line: clients show it as it is, and so do the Events of a ReplicaSet.
pub fn all(refused: &[Refused]) -> String {
    // Names in a pod were not judged by the API server yet: they could hold anything.
    one_line(&listed(refused))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn listed(refused: &[Refused]) -> String {
    match refused {
        [] => String::new(),
        [one] => one.to_string(),
        many => {
            let listed: Vec<_> = many.iter().enumerate().map(|(i, one)| format!("({}) {one}", i + 1)).collect();
            format!("{} problems: {}", many.len(), listed.join(" "))
        }
    }
}

/// A text as a warning header can carry it: on one line and of bounded length.
pub fn header(text: &str) -> String {
    const MOST: usize = 1024;
    exeat_crds::text::cut(&one_line(text), MOST).to_owned()
}

/// Tells the author of a pod what is let be, as a warning.
pub fn warned(what: &Refused) -> String {
    header(&what.to_string())
}

/// Tells the author of a pod that people will be asked, as a warning.
pub fn asked(who: &str, needed: &Needed) -> String {
    let people =
        needed.demand.required.iter().map(|r| format!("{} of {}", r.count, r.group)).collect::<Vec<_>>().join(", ");
    header(&format!(
        "people are asked before {who} gets credentials ({people}; rules {}): `kubectl get approvals` shows what they have said",
        needed.rules.join(", ")
    ))
}

/// The known word that a mistyped one was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    let near = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(distance, _)| *distance <= most).min().map(|(_, candidate)| candidate)
}

/// Levenshtein distance: insertions, deletions and substitutions of single characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_far_off() {
        let known = ["policy", "port", "duration"];
        assert_eq!(nearest("polcy", known), Some("policy"));
        assert_eq!(nearest("Duration", known), Some("duration"));
        assert_eq!(nearest("prot", known), None, "a short word has room for one slip only");
        assert_eq!(nearest("budget", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn one_problem_stands_alone_and_several_are_counted() {
        let one = refused(Reason::PodUnsuitable, "spec.hostPID", "bad", "remove it");
        assert_eq!(all(std::slice::from_ref(&one)), "PodUnsuitable: spec.hostPID: bad; remove it");
        let two = all(&[one.clone(), one]);
        let forged = refused(Reason::PodUnsuitable, "spec.containers[name=a\n\u{1b}[2Jb]", "bad", "remove it");
        assert!(!all(&[forged]).chars().any(char::is_control));
        assert!(two.starts_with("2 problems: (1) PodUnsuitable: spec.hostPID") && two.contains("(2) "), "{two}");
    }
}
