//! What a workload says of making pods: whether it wants any, and whether it is refused them now. Pure.

use super::facts::Told;
use super::target::Kind;
use jiff::Timestamp;
use serde_json::Value;

/// What a workload is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Making {
    /// Why it wants no pod, where it wants none.
    pub idle: Option<&'static str>,
    /// By what words it is refused a pod now.
    pub refused: Option<Told>,
}

/// What its object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Why it makes no pod just now.
    pub(super) idle: Option<&'static str>,
    /// Whether it wants none at all: what it was refused before is past.
    pub(super) wants_none: bool,
    /// Whether it has fewer pods than it wants; `None` where that can't be told.
    pub(super) lacks: Option<bool>,
    /// A Deployment says itself that its pods are refused, for as long as they are; but in the words of the first refusal.
    pub(super) refused: Option<Told>,
}

impl State {
    /// The same of a Deployment, whose pods its newest ReplicaSet makes: what an older one is refused is past.
    pub(super) fn of_set(mut self, set: &Value, events: &[Told]) -> Self {
        // Until the Deployment's last change was seen, its newest ReplicaSet is one of before.
        if self.wants_none || self.lacks.is_none() {
            return self;
        }
        let last = events.iter().rev().find(|event| event.reason == "FailedCreate");
        let unmade = self.refused.take().filter(|told| told.reason == UNMADE);
        let refused = failure(&set["status"]).map(|told| last.cloned().unwrap_or(told));
        Self { refused: unmade.or(refused), ..self }
    }
}

/// Reason of a Deployment whose ReplicaSet can't be made.
const UNMADE: &str = "ReplicaSetCreateError";

/// Reads it from the object's JSON.
pub(super) fn state(kind: Kind, object: &Value) -> State {
    let (spec, status) = (&object["spec"], &object["status"]);
    let number = |value: &Value| value.as_i64();
    let replicas = number(&spec["replicas"]).unwrap_or(1);
    let observed = number(&status["observedGeneration"]) >= number(&object["metadata"]["generation"]);
    let scaled_down = (replicas == 0).then_some("it is scaled to zero");
    let lacks = |wanted: i64, has: &str| observed.then(|| number(&status[has]).unwrap_or(0) < wanted);
    match kind {
        Kind::Pod => State::default(),
        Kind::Deployment => State {
            idle: scaled_down.or((spec["paused"] == true).then_some("its rollout is paused")),
            wants_none: replicas == 0,
            lacks: lacks(replicas, "replicas"),
            refused: failure(status).filter(|_| observed),
        },
        Kind::StatefulSet => {
            State { idle: scaled_down, wants_none: replicas == 0, lacks: lacks(replicas, "replicas"), refused: None }
        }
        Kind::DaemonSet => {
            let wanted = number(&status["desiredNumberScheduled"]).unwrap_or(0);
            let nowhere = observed && wanted == 0;
            let idle = nowhere.then_some("no node matches what its pods ask for");
            State { idle, wants_none: nowhere, lacks: lacks(wanted, "currentNumberScheduled"), refused: None }
        }
        Kind::Job => job(spec, status),
        Kind::CronJob => {
            let suspended = suspended(spec);
            let idle = suspended.or(Some("it is not due yet"));
            State { idle, wants_none: suspended.is_some(), ..State::default() }
        }
    }
}

fn suspended(spec: &Value) -> Option<&'static str> {
    (spec["suspend"] == true).then_some("it is suspended")
}

fn is_true(status: &Value, condition: &str) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == condition && c["status"] == "True")
}

fn job(spec: &Value, status: &Value) -> State {
    let ended = ["Complete", "Failed"].iter().any(|condition| is_true(status, condition));
    let idle = suspended(spec).or(ended.then_some("it has ended"));
    let number = |value: &Value| value.as_i64();
    let parallel = number(&spec["parallelism"]).unwrap_or(1);
    let succeeded = number(&status["succeeded"]).unwrap_or(0);
    let wanted = number(&spec["completions"]).map_or(parallel, |all| parallel.min(all - succeeded));
    // What is not counted yet is no lack: a Job has its startTime from the controller.
    let counted = status["startTime"].is_string();
    let lacks = counted.then(|| idle.is_none() && number(&status["active"]).unwrap_or(0) < wanted);
    State { idle, wants_none: idle.is_some(), lacks, refused: None }
}

/// Its pods are refused, or the ReplicaSet that should make them is.
fn failure(status: &Value) -> Option<Told> {
    const SIGNS: [(&str, &str, &str); 2] =
        [("ReplicaFailure", "True", "FailedCreate"), ("Progressing", "False", UNMADE)];
    let conditions = status["conditions"].as_array()?;
    let is_sign = |c: &&Value| {
        SIGNS.iter().any(|(kind, is, why)| c["type"] == *kind && c["status"] == *is && c["reason"] == *why)
    };
    let found = conditions.iter().find(is_sign)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some(Told { reason: text("reason"), note: text("message"), ..Told::default() })
}

/// What is told last of a refusal, unless that is over: a pod was made since, or it has all that it wants.
pub(super) fn refusal(state: &State, events: &[Told], newest: Option<Timestamp>) -> Option<Told> {
    if state.wants_none {
        return None;
    }
    if state.refused.is_some() || state.lacks == Some(false) {
        return state.refused.clone();
    }
    let last = |reason: &str| events.iter().rev().find(|event| event.reason == reason);
    let refused = last("FailedCreate")?;
    let made = [newest, last("SuccessfulCreate").and_then(|event| event.at)].into_iter().flatten().max();
    // Of several pods one may be made and one refused in the same second.
    let over = match (refused.at, made) {
        (Some(refused), Some(made)) if state.lacks == Some(true) => made > refused,
        (Some(refused), Some(made)) => made >= refused,
        (None, made) => made.is_some(),
        (_, None) => false,
    };
    (!over).then(|| refused.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn event(reason: &str, second: i64) -> Told {
        Told { reason: reason.into(), note: format!("at {second}"), at: Some(at(second)), ..Told::default() }
    }

    #[test]
    fn a_deployment_says_itself_that_its_pods_are_refused() {
        let deployment = |replicas: i64, observed: i64, status: &str| {
            let condition = json!({"type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": "exceeded quota: small"});
            state(
                Kind::Deployment,
                &json!({"metadata": {"generation": 2}, "spec": {"replicas": replicas},
                    "status": {"observedGeneration": observed, "replicas": 1, "conditions": [condition]}}),
            )
        };
        // One old pod lives: it is refused all the same. An Event of an hour ago counts for nothing.
        let refused = refusal(&deployment(1, 2, "True"), &[], Some(at(100))).unwrap();
        assert_eq!((refused.reason.as_str(), refused.note.as_str()), ("FailedCreate", "exceeded quota: small"));
        let old = [event("FailedCreate", 1)];
        for (replicas, observed, status) in [(1, 2, "False"), (1, 1, "True"), (0, 2, "True")] {
            let state = deployment(replicas, observed, status);
            assert_eq!(refusal(&state, &old, Some(at(100))), None, "{state:?}");
        }
        assert_eq!(deployment(0, 2, "True").idle, Some("it is scaled to zero"));
        let paused = State { idle: Some("its rollout is paused"), ..deployment(1, 2, "True") };
        assert!(refusal(&paused, &[], None).is_some(), "the pods of before are made all the same");
        let unmade = json!({"conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedDelete", "message": "no"},
            {"type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError", "message": "exceeded quota: sets"},
        ]});
        assert_eq!(failure(&unmade).map(|told| told.note).as_deref(), Some("exceeded quota: sets"));
    }

    #[test]
    fn the_newest_replica_set_decides_and_its_last_event_has_the_words() {
        let condition = |message: &str| json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]);
        let deployment = |conditions: Value| {
            let status = json!({"observedGeneration": 2, "replicas": 1, "conditions": conditions});
            state(Kind::Deployment, &json!({"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}))
        };
        let told = |state: State, set: Value, events: &[Told]| {
            let state = state.of_set(&json!({"status": {"conditions": set}}), events);
            refusal(&state, &[], Some(at(100))).map(|told| told.note)
        };
        let events = [event("SuccessfulCreate", 5), event("FailedCreate", 10)];
        let stays = deployment(condition("by the former template"));
        assert_eq!(told(stays.clone(), condition("first"), &events).as_deref(), Some("at 10"));
        assert_eq!(told(stays.clone(), condition("first"), &[]).as_deref(), Some("first"), "Events don't last");
        assert_eq!(told(stays, json!([]), &events), None, "what an older one was refused is past");
        let unmade = json!([{"type": "Progressing", "status": "False", "reason": UNMADE, "message": "no set"}]);
        assert_eq!(told(deployment(unmade), condition("first"), &events).as_deref(), Some("no set"));
    }

    #[test]
    fn a_refusal_is_over_once_a_pod_was_made_or_none_is_wanted() {
        let set = |has: i64| {
            let object = json!({"metadata": {"generation": 1}, "spec": {"replicas": 3}, "status": {"observedGeneration": 1, "replicas": has}});
            state(Kind::StatefulSet, &object)
        };
        let refused = [event("SuccessfulCreate", 5), event("FailedCreate", 10)];
        let told = |state: &State, events: &[Told], newest: Option<i64>| {
            refusal(state, events, newest.map(at)).map(|told| told.note)
        };
        assert_eq!(told(&set(2), &refused, Some(5)).as_deref(), Some("at 10"));
        assert_eq!(told(&set(2), &refused, Some(10)).as_deref(), Some("at 10"), "in the same second");
        assert_eq!(told(&set(2), &refused, Some(11)), None, "a pod was made since");
        assert_eq!(told(&set(3), &refused, None), None, "it has all that it wants");
        let made = [event("FailedCreate", 10), event("SuccessfulCreate", 20)];
        assert_eq!(told(&set(2), &made, None), None, "a pod was made since, and is gone again");
        let unknown = State::default();
        assert_eq!(told(&unknown, &refused, Some(10)), None);
        assert_eq!(told(&unknown, &refused, None).as_deref(), Some("at 10"));
    }

    #[test]
    fn what_wants_no_pod_is_not_refused_one() {
        let refused = [event("FailedCreate", 10)];
        let set = |status: Value| json!({"metadata": {"generation": 1}, "spec": {}, "status": status});
        let job = |more: Value, status: Value| {
            let mut spec = json!({"completions": 2, "parallelism": 3});
            spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
            json!({"metadata": {"generation": 1}, "spec": spec, "status": status})
        };
        for (kind, object, idle, lacks) in [
            (Kind::Job, job(json!({"suspend": true}), json!({})), Some("it is suspended"), None),
            (
                Kind::Job,
                job(json!({}), json!({"startTime": "t", "conditions": [{"type": "Complete", "status": "True"}]})),
                Some("it has ended"),
                Some(false),
            ),
            (Kind::Job, job(json!({}), json!({"startTime": "t", "succeeded": 1, "active": 1})), None, Some(false)),
            (Kind::Job, job(json!({}), json!({"startTime": "t", "active": 1})), None, Some(true)),
            (Kind::Job, job(json!({}), json!({})), None, None),
            (Kind::CronJob, json!({"spec": {"suspend": true}}), Some("it is suspended"), None),
            (Kind::CronJob, json!({"spec": {}}), Some("it is not due yet"), None),
            (
                Kind::DaemonSet,
                set(json!({"observedGeneration": 1, "desiredNumberScheduled": 0})),
                Some("no node matches what its pods ask for"),
                Some(false),
            ),
            (
                Kind::DaemonSet,
                set(json!({"observedGeneration": 1, "desiredNumberScheduled": 1, "currentNumberScheduled": 0})),
                None,
                Some(true),
            ),
            (Kind::DaemonSet, set(json!({})), None, None),
        ] {
            let state = state(kind, &object);
            assert_eq!((state.idle, state.lacks), (idle, lacks), "{object}");
            let told = refusal(&state, &refused, None);
            assert_eq!(told.is_some(), !state.wants_none && lacks != Some(false), "{object}");
            assert_eq!(state.wants_none, idle.is_some_and(|why| why != "it is not due yet"), "{object}");
        }
    }
}
