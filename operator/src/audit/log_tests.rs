use super::*;
use crate::audit::sink::{Lines, SinkError, Threaded};
use crate::audit::tests::{key, origin, session};
use async_trait::async_trait;
use std::io::{self, Write};

/// What the test's sink is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Takes,
    Refuses,
    Hangs,
}

struct Told {
    mood: watch::Sender<Mood>,
    lines: Mutex<Vec<serde_json::Value>>,
}

struct TestSink {
    told: Arc<Told>,
    local: bool,
}

#[async_trait]
impl Sink for TestSink {
    fn is_local(&self) -> bool {
        self.local
    }

    async fn deliver(&mut self, batch: Vec<Entry>) -> Result<(), SinkError> {
        let mut mood = self.told.mood.subscribe();
        let mood = *mood.wait_for(|mood| *mood != Mood::Hangs).await.map_err(|_| SinkError::Ended)?;
        if mood == Mood::Refuses {
            return Err(io::Error::other("no space left").into());
        }
        let lines = batch.iter().map(|entry| serde_json::from_slice(&entry.line).unwrap());
        self.told.lines.lock().unwrap().extend(lines);
        Ok(())
    }
}

fn start(local: bool, records: usize) -> (Audit, Arc<Told>) {
    let told = Arc::new(Told { mood: watch::Sender::new(Mood::Takes), lines: Mutex::default() });
    let sink = Box::new(TestSink { told: Arc::clone(&told), local });
    let chain = Chain::new(key('1'), origin("pod-a", "b0"), "");
    let metrics = AuditMetrics::register(&prometheus::Registry::new()).unwrap();
    (Audit::start(chain, Limits { records, bytes: 1 << 20 }, sink, metrics), told)
}

fn intent() -> AuditEvent {
    AuditEvent::of(&session(), EventName::CredentialsIntended, "Active", "a credential is about to be minted")
}

fn fact() -> AuditEvent {
    AuditEvent::of(&session(), EventName::CredentialsIssued, "Active", "until then")
}

fn sequences(told: &Told) -> Vec<u64> {
    told.lines.lock().unwrap().iter().map(|line| line["sequence"].as_u64().unwrap()).collect()
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[tokio::test]
async fn an_intent_is_at_a_local_sink_when_it_returns() {
    let (audit, told) = start(true, 100);
    audit.record(&fact(), NOW);
    audit.intend(&intent(), NOW).await.unwrap();
    assert_eq!(sequences(&told), [0, 1]);
    assert_eq!(told.lines.lock().unwrap()[1]["event"], "CredentialsIntended");
}

#[tokio::test(start_paused = true)]
async fn a_local_sink_that_fails_refuses_intents_and_gets_all_once_it_works() {
    let (audit, told) = start(true, 100);
    told.mood.send_replace(Mood::Refuses);
    assert!(matches!(audit.intend(&intent(), NOW).await, Err(AuditError::Failing)));
    assert!(matches!(audit.intend(&intent(), NOW).await, Err(AuditError::Failing)));
    audit.record(&fact(), NOW);
    told.mood.send_replace(Mood::Takes);
    assert_eq!(audit.flush(Duration::from_secs(60)).await, 0);
    assert_eq!(
        sequences(&told),
        [0, 1],
        "the second intent was never recorded, since it was clear that it would be refused"
    );
    audit.intend(&intent(), NOW).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_local_sink_that_hangs_refuses_intents_after_a_while() {
    let (audit, told) = start(true, 100);
    told.mood.send_replace(Mood::Hangs);
    assert!(matches!(audit.intend(&intent(), NOW).await, Err(AuditError::Slow)));
    assert_eq!(audit.flush(Duration::from_secs(1)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_remote_sink_that_is_away_stops_intents_only_when_the_spool_is_full_and_nothing_is_dropped_silently() {
    let (audit, told) = start(false, 16);
    told.mood.send_replace(Mood::Refuses);
    for _ in 0..14 {
        audit.intend(&intent(), NOW).await.unwrap();
    }
    assert!(matches!(audit.intend(&intent(), NOW).await, Err(AuditError::Full(_))));
    for _ in 0..5 {
        audit.record(&fact(), NOW);
    }
    told.mood.send_replace(Mood::Takes);
    assert_eq!(audit.flush(Duration::from_secs(60)).await, 0);
    assert_eq!(sequences(&told), (0..16).collect::<Vec<_>>());
    audit.intend(&intent(), NOW).await.unwrap();
    assert_eq!(audit.flush(Duration::from_secs(60)).await, 0);
    let lines = told.lines.lock().unwrap();
    assert_eq!(lines[16]["lost"], 3, "three facts had no room");
    assert!(lines[..16].iter().all(|line| line.get("lost").is_none()));
}

#[tokio::test]
async fn the_chains_end_can_be_followed() {
    let (audit, _told) = start(true, 100);
    let mut head = audit.head();
    assert!(head.borrow_and_update().is_none());
    audit.intend(&intent(), NOW).await.unwrap();
    assert_eq!(head.borrow_and_update().map(|head| head.sequence), Some(0));
}

/// A pipe that nobody reads.
struct Stuck;

impl Write for Stuck {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        std::thread::park();
        Ok(0)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_standard_output_that_has_stopped_stops_nothing_but_minting() {
    let chain = Chain::new(key('1'), origin("pod-a", "b0"), "");
    let metrics = AuditMetrics::register(&prometheus::Registry::new()).unwrap();
    let sink = Box::new(Threaded::start(Lines::new(Stuck)).unwrap());
    let audit = Audit::start(chain, Limits { records: 100, bytes: 1 << 20 }, sink, metrics);
    assert!(matches!(audit.intend(&intent(), NOW).await, Err(AuditError::Slow)));
    audit.record(&fact(), NOW);
}
