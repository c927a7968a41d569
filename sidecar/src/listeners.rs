//! Who is told what the stream says: the task of each policy that this sidecar serves.

use exeat_wire::StreamMessage;
use tokio::sync::mpsc;

use crate::machine::Event;

/// The tasks, by the policy that each keeps the credential of.
#[derive(Clone, Debug)]
pub struct Listeners {
    all: Vec<(Option<String>, mpsc::Sender<Event>)>,
}

impl Listeners {
    /// The one task of a sidecar that serves one policy: whatever is said is said to it.
    pub fn one(events: mpsc::Sender<Event>) -> Self {
        Self { all: vec![(None, events)] }
    }

    /// The tasks of these policies.
    pub fn of(all: Vec<(String, mpsc::Sender<Event>)>) -> Self {
        Self { all: all.into_iter().map(|(policy, events)| (Some(policy), events)).collect() }
    }

    /// Tells whom an event concerns, in the order of coming. `None` where nobody listens any more.
    pub async fn tell(&self, policy: Option<&str>, event: Event) -> Option<()> {
        for (own, events) in &self.all {
            if concerns(own.as_deref(), policy, &event) {
                events.send(event.clone()).await.ok()?;
            }
        }
        Some(())
    }

    /// Whether nobody listens any more.
    pub fn is_closed(&self) -> bool {
        self.all.iter().any(|(_, events)| events.is_closed())
    }
}

/// What is said of a session without the name of its policy is not believed by one of several: an issuer that knows one session of a
/// pod may mean any of them.
fn concerns(own: Option<&str>, policy: Option<&str>, event: &Event) -> bool {
    match (own, policy) {
        (None, _) => true,
        (Some(own), Some(policy)) => own == policy,
        (Some(_), None) => !matches!(event, Event::Stream(message) if *message != StreamMessage::Heartbeat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active() -> Event {
        Event::Stream(StreamMessage::Active { session: "s".into(), digest: "d".into() })
    }

    async fn heard(several: bool, said: &[(Option<&str>, Event)]) -> Vec<usize> {
        let (a, mut of_a) = mpsc::channel(9);
        let (b, mut of_b) = mpsc::channel(9);
        let listeners = if several {
            Listeners::of(vec![("a".into(), a), ("b".into(), b)])
        } else {
            drop(b);
            Listeners::one(a)
        };
        for (policy, event) in said {
            listeners.tell(*policy, event.clone()).await.unwrap();
        }
        drop(listeners);
        let mut counts = vec![0, 0];
        while of_a.recv().await.is_some() {
            counts[0] += 1;
        }
        while of_b.recv().await.is_some() {
            counts[1] += 1;
        }
        counts
    }

    #[tokio::test]
    async fn each_hears_of_its_own_policy_and_all_of_what_concerns_the_stream() {
        assert_eq!(heard(true, &[(Some("a"), active())]).await, [1, 0]);
        assert_eq!(heard(true, &[(Some("c"), active())]).await, [0, 0]);
        assert_eq!(heard(true, &[(None, active())]).await, [0, 0], "an issuer that knows nothing of several");
        assert_eq!(
            heard(true, &[(None, Event::Stream(StreamMessage::Heartbeat)), (None, Event::Connected)]).await,
            [2, 2]
        );
        assert_eq!(heard(false, &[(None, active()), (Some("a"), active())]).await, [2, 0]);
    }
}
