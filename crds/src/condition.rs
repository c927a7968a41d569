//! Conditions as a list-map: one of a type, its transition time moved only when its status changes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Sets a condition. `lastTransitionTime` moves only when `status` changes.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if status { "True" } else { "False" };
    let old = conditions.iter().find(|c| c.type_ == type_);
    let since = match old {
        Some(c) if c.status == status => c.last_transition_time.clone(),
        _ => Time(whole_seconds(now)),
    };
    let new = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: crate::text::cut(message, 1024).to_owned(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|c| c.type_ == type_) {
        Some(c) => *c = new,
        None => conditions.push(new),
    }
}

/// The condition of a type.
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether the condition of a type is `True`.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    get(conditions, type_).is_some_and(|c| c.status == "True")
}

/// The API server keeps whole seconds: a finer time would look changed at every reconcile.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let (a, b): (Timestamp, Timestamp) =
            ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-01-01T01:00:00Z".parse().unwrap());
        let mut conditions = Vec::new();
        set(&mut conditions, "Ready", true, "Ready", "", Some(1), a);
        set(&mut conditions, "Ready", true, "Ready", "still", Some(2), b);
        assert_eq!(conditions[0].last_transition_time, Time(a));
        assert_eq!(conditions[0].observed_generation, Some(2));
        set(&mut conditions, "Ready", false, "ProbeFailed", "", Some(2), b);
        assert_eq!(conditions[0].last_transition_time, Time(b));
        assert_eq!(conditions.len(), 1);
    }
}
