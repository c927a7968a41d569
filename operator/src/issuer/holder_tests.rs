use super::*;
use proptest::prelude::*;
use serde_json::json;

fn record(key: &str, restarts: i32, container: &str) -> Holder {
    Holder { key: key.into(), restarts, container: container.into() }
}

fn reported(restarts: i32, container: &str) -> Instance {
    Instance { restarts, container: container.into() }
}

#[test]
fn another_key_needs_another_container() {
    let bound = record("a", 1, "c1");
    for (what, recorded, sidecar, expected) in [
        ("nothing bound yet", None, reported(0, ""), Decision::Rebind),
        ("restarted", Some(&bound), reported(2, "c2"), Decision::Rebind),
        ("restarted, not started yet", Some(&bound), reported(2, ""), Decision::Rebind),
        ("another container, the count was lost", Some(&bound), reported(0, "c2"), Decision::Rebind),
        ("the same container", Some(&bound), reported(1, "c1"), Decision::Conflict),
        ("kubelet has not reported it", Some(&bound), reported(1, ""), Decision::Conflict),
        ("kubelet has lost its count", Some(&bound), reported(0, ""), Decision::Conflict),
        ("bound before the report", Some(&record("a", 1, "")), reported(1, "c1"), Decision::Conflict),
    ] {
        assert_eq!(decide(recorded, "b", &sidecar), expected, "{what}");
        let same = if recorded.is_some() { Decision::Accept } else { Decision::Rebind };
        assert_eq!(decide(recorded, "a", &sidecar), same, "{what}");
    }
}

#[test]
fn keys_are_taken_as_sidecars_write_them_only() {
    let key = "0123456789abcdef".repeat(4);
    let digest = fingerprint(&key).unwrap();
    assert!(digest.len() == 64 && digest != key, "the key itself is not recorded");
    for wrong in ["", &key[1..], &format!("{key}0"), &key.to_uppercase(), &format!("{} ", &key[1..]), &"é".repeat(32)]
    {
        assert_eq!(fingerprint(wrong), None, "{wrong:?}");
    }
}

#[test]
fn the_instance_is_read_off_our_container_alone() {
    let status = |name: &str, restarts: i32, id: Option<&str>| json!({"name": name, "image": "i", "imageID": "", "ready": true, "restartCount": restarts, "containerID": id});
    let pod = |init: serde_json::Value| {
        let status = json!({"initContainerStatuses": init, "containerStatuses": [status("agent", 9, Some("a9"))]});
        serde_json::from_value::<Pod>(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    };
    let full = pod(json!([status("setup", 7, Some("s7")), status(names::SIDECAR, 2, Some("containerd://c2"))]));
    assert_eq!(instance(&full), reported(2, "containerd://c2"));
    assert_eq!(instance(&pod(json!([status(names::SIDECAR, 0, None)]))), reported(0, ""));
    assert_eq!(instance(&pod(json!([]))), Instance::default());
    assert_eq!(instance(&Pod::default()), Instance::default());
}

#[test]
fn a_conflict_is_reported_once_a_minute_and_made_up_keys_do_not_flood() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut reports = Reports::default();
    assert!(reports.due("s", "k", start));
    assert!((1..60).all(|second| !reports.due("s", "k", after(second))));
    assert!(reports.due("s", "k", after(60)));
    assert!(reports.due("other", "k", after(60)), "another session's is its own");
    let made_up = (0..100).filter(|n| reports.due("t", &format!("k{n}"), after(61))).count();
    assert_eq!(made_up, REPORTS_PER_SESSION);
    assert!(reports.due("t", "k0", after(121)));
}

/// A pod as kubelet has it and as it has reported it, the record, and all that was bound. `epoch` numbers the containers.
#[derive(Default)]
struct World {
    actual: (u32, Instance),
    reported: (u32, Instance),
    record: Option<Holder>,
    version: u32,
    bound: Vec<(usize, u32)>,
}

/// How far one request of one key is, on a replica of its own.
#[derive(Clone, Default)]
enum Request {
    #[default]
    Idle,
    Record(Option<Holder>, u32),
    Pod(Option<Holder>, u32, u32, Instance),
    Bound,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The request with this number goes on by one step.
    Request(usize),
    /// The sidecar's container is replaced.
    Restart,
    /// The same, and kubelet forgets its count.
    Forget,
    /// Kubelet reports, with or without the container's ID.
    Report(bool),
}

/// Requests 0 and 1 show one key, 2 and 3 another, 4 a third.
const KEYS: [usize; 5] = [0, 0, 1, 1, 2];

impl World {
    fn restart(&mut self, restarts: i32) {
        let epoch = self.actual.0 + 1;
        self.actual = (epoch, reported(restarts, &format!("c{epoch}")));
    }

    /// One step of [`hold`](super::super::hold) and of the last look. Returns whether a credential leaves.
    fn go_on(&mut self, key: usize, request: &mut Request) -> bool {
        let name = format!("k{key}");
        let ours = |record: &Option<Holder>| record.as_ref().is_some_and(|r| r.key == name);
        let mut released = false;
        *request = match std::mem::take(request) {
            Request::Idle => Request::Record(self.record.clone(), self.version),
            Request::Record(record, _) if ours(&record) => Request::Bound,
            Request::Record(record, version) => Request::Pod(record, version, self.reported.0, self.reported.1.clone()),
            Request::Pod(record, version, epoch, sidecar) => match decide(record.as_ref(), &name, &sidecar) {
                Decision::Rebind if version == self.version => {
                    self.record = Some(bound(&name, sidecar));
                    self.version += 1;
                    self.bound.push((key, epoch));
                    Request::Bound
                }
                _ => Request::Idle,
            },
            Request::Bound => {
                released = ours(&self.record);
                Request::Idle
            }
        };
        released
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..KEYS.len()).prop_map(Step::Request),
        1 => Just(Step::Restart),
        1 => Just(Step::Forget),
        2 => any::<bool>().prop_map(Step::Report),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// However requests, restarts and kubelet's reports fall: one container, one key; and only the bound key gets a credential.
    #[test]
    fn no_two_keys_hold_for_one_container(steps in steps()) {
        let mut world = World::default();
        world.restart(0);
        let mut requests = vec![Request::default(); KEYS.len()];
        for step in steps {
            match step {
                Step::Request(n) => {
                    if world.go_on(KEYS[n], &mut requests[n]) {
                        prop_assert_eq!(Some(KEYS[n]), world.bound.last().map(|(key, _)| *key));
                    }
                }
                Step::Restart => world.restart(world.actual.1.restarts + 1),
                Step::Forget => world.restart(0),
                Step::Report(with_id) => {
                    world.reported = world.actual.clone();
                    if !with_id {
                        world.reported.1.container.clear();
                    }
                }
            }
            for pair in world.bound.windows(2) {
                prop_assert!(pair[0].0 == pair[1].0 || pair[0].1 < pair[1].1, "two keys for one container: {:?}", world.bound);
            }
        }
    }
}

#[test]
fn a_restarted_sidecar_is_let_in_once_kubelet_has_reported_it() {
    let mut world = World::default();
    world.restart(0);
    world.reported = world.actual.clone();
    let run = |world: &mut World, key| {
        let mut request = Request::Idle;
        (0..4).any(|_| world.go_on(key, &mut request))
    };
    assert!(run(&mut world, 0) && !run(&mut world, 1));
    world.restart(1);
    assert!(!run(&mut world, 1), "it may ask before kubelet has reported its restart");
    world.reported = world.actual.clone();
    assert!(run(&mut world, 1) && !run(&mut world, 0), "and then its predecessor's key is over");
}
