//! Whatever happens in whatever order, nothing is served that may not be.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Start,
    Bring { session: u8, digest: u8, life: i64, session_life: i64 },
    Refuse(bool),
    Fail,
    Active(u8, u8),
    Waiting,
    Stopped(u8),
    StreamRefused(bool),
    Connected,
    Heartbeat,
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_i64..700).prop_map(Step::Pass),
        4 => Just(Step::Start),
        4 => (0_u8..3, 0_u8..3, -50_i64..2000, -50_i64..4000)
            .prop_map(|(session, digest, life, session_life)| Step::Bring { session, digest, life, session_life }),
        1 => any::<bool>().prop_map(Step::Refuse),
        1 => Just(Step::Fail),
        2 => (0_u8..3, 0_u8..3).prop_map(|(session, digest)| Step::Active(session, digest)),
        1 => Just(Step::Waiting),
        1 => (0_u8..3).prop_map(Step::Stopped),
        1 => any::<bool>().prop_map(Step::StreamRefused),
        1 => Just(Step::Connected),
        2 => Just(Step::Heartbeat),
        1 => Just(Step::Tick),
    ]
}

fn name(session: u8) -> String {
    format!("s-{session}")
}

fn grant(digest: u8) -> String {
    format!("d-{digest}")
}

/// A machine, beside what a reader of the issuer's words alone knows: when it was heard last, what was brought after the
/// last stop, and since when another session or grant is named.
struct Witness {
    machine: Machine,
    roll: f64,
    now: i64,
    contact: i64,
    /// Epoch of the call in flight, and how many stops there were when it began.
    call: Option<(u64, u32)>,
    stops: u32,
    /// Named active since the last stop or connection.
    named: Option<(u8, u8)>,
    /// The session that was stopped last and not named active since.
    ended: Option<u8>,
    brought: Option<(i64, i64)>,
    held: Option<(u8, u8)>,
    other_grant_since: Option<i64>,
}

impl Witness {
    fn new(roll: f64) -> Self {
        let machine = Machine::new(at(0));
        Self {
            machine,
            roll,
            now: 0,
            contact: 0,
            call: None,
            stops: 0,
            named: None,
            ended: None,
            brought: None,
            held: None,
            other_grant_since: None,
        }
    }

    fn tell(&mut self, event: Event) {
        self.machine.apply(event, at(self.now), self.roll);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Pass(seconds) => self.now += seconds,
            Step::Start => {
                self.call = self.call.or_else(|| Some((self.machine.fetch_started(at(self.now)), self.stops)))
            }
            Step::Bring { session, digest, life, session_life } => self.bring((session, digest), life, session_life),
            Step::Refuse(retryable) => {
                let Some((epoch, _)) = self.call.take() else { return };
                if !retryable && epoch == self.machine.epoch {
                    self.brought = None;
                }
                self.tell(Event::Refused { epoch, refusal: refusal("R", retryable) });
            }
            Step::Fail => {
                if self.call.take().is_some() {
                    self.tell(Event::Failed { cause: "f".into() });
                }
            }
            Step::Active(session, digest) => {
                self.tell(active(&name(session), &grant(digest)));
                self.named = Some((session, digest));
                self.ended = self.ended.filter(|ended| *ended != session);
                if self.held == Some((session, digest)) {
                    self.other_grant_since = None;
                } else {
                    self.other_grant_since.get_or_insert(self.now);
                }
            }
            Step::Waiting => self.stop(Event::Stream(StreamMessage::Waiting(refusal("W", true)))),
            Step::Stopped(session) => {
                let refusal = Refusal { session: Some(name(session)), ..refusal("S", false) };
                self.stop(Event::Stream(StreamMessage::Stopped(refusal)));
                self.ended = Some(session);
            }
            Step::StreamRefused(true) => self.tell(Event::StreamRefused(refusal("T", true))),
            Step::StreamRefused(false) => self.stop(Event::StreamRefused(refusal("T", false))),
            Step::Connected => {
                self.named = None;
                self.tell(Event::Connected);
            }
            Step::Heartbeat => {
                self.contact = self.now;
                self.tell(heartbeat());
            }
            Step::Tick => self.machine.tick(at(self.now)),
        }
    }

    fn stop(&mut self, event: Event) {
        self.tell(event);
        self.stops += 1;
        self.named = None;
        self.brought = None;
    }

    fn bring(&mut self, (session, digest): (u8, u8), life: i64, session_life: i64) {
        let Some((epoch, stops)) = self.call.take() else { return };
        let (expires, session_expires) = (self.now + life, self.now + session_life);
        self.contact = self.now;
        let credential = held(&name(session), &grant(digest), expires, session_expires);
        let payload = Arc::clone(&credential.payload);
        self.tell(Event::Fetched { epoch, held: credential });
        if matches!(self.machine.view(at(self.now)), View::Held(held, _) if Arc::ptr_eq(&held.payload, &payload)) {
            let current = stops == self.stops || self.named == Some((session, digest));
            assert!(current, "a call that began before a stop undid it");
            assert_ne!(self.ended, Some(session), "an ended session came back by a call");
            self.brought = Some((expires, session_expires));
            self.held = Some((session, digest));
            self.other_grant_since = None;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_served_past_an_end_a_stop_or_the_grace(
        steps in prop::collection::vec(step(), 0..60), roll in 0.0..1.0_f64
    ) {
        let mut seen = Witness::new(roll);
        for step in steps {
            seen.take(&step);
            let now = seen.now;
            if let View::Held(held, until) = seen.machine.view(at(now)) {
                let (expires, session_expires) = seen.brought.expect("a credential that was brought after the last stop");
                prop_assert!(now < expires && now < session_expires);
                prop_assert!(now < seen.contact + 600);
                prop_assert!(until <= held.ends_at() && until <= at(seen.contact + 600) && until > at(now));
                if let Some(since) = seen.other_grant_since {
                    prop_assert!(now < since + 10, "another grant was named at {since}, and it serves at {now}");
                }
            } else {
                let refusal = refused(&seen.machine, now);
                prop_assert!(!refusal.code.is_empty() && !refusal.message.is_empty());
            }
        }
    }

    #[test]
    fn it_always_comes_back_to_asking(steps in prop::collection::vec(step(), 0..60), roll in 0.0..1.0_f64) {
        let mut seen = Witness::new(roll);
        for step in steps {
            seen.take(&step);
            if seen.call.is_none() {
                let next = seen.machine.fetch_at().or(seen.machine.ends_at());
                prop_assert!(next.is_some(), "neither a call nor an end is due");
            }
        }
    }
}
