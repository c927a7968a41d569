use super::*;
use crate::controller::world::World;
use exeat_crds::v1alpha1::{
    ApprovalDecision, ApprovalPhase, ApprovalRequest, ApprovalSpec, RequiredApprovals, Verdict,
};
use jiff::Timestamp;

const NOW: &str = "2026-01-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// Approved, for so many sessions.
fn approved(uses: i32) -> Approval {
    let mut request = ApprovalRequest {
        deadline: "2026-01-01T13:00:00Z".into(),
        valid_for: "1h".into(),
        cool_down: "1h".into(),
        uses,
        minimum: 1,
        required: vec![RequiredApprovals { group: "security".into(), count: 1 }],
        ..ApprovalRequest::default()
    };
    request.digest = approval::digest(&request);
    let yes = ApprovalDecision {
        approver: "ann".into(),
        uid: None,
        groups: vec!["security".into()],
        decision: Verdict::Approve,
        digest: request.digest.clone(),
        comment: None,
        time: Some(NOW.into()),
    };
    let mut asked = Approval::new("fleet-1", ApprovalSpec { request, decisions: vec![yes] });
    asked.metadata.namespace = Some("agents".into());
    asked.metadata.uid = Some("a-uid".into());
    let (status, _) = approval::status(&asked, now());
    assert_eq!(status.phase, Some(ApprovalPhase::Approved));
    asked.status = Some(status);
    asked
}

async fn opens(world: &World, session: &str) -> Result<bool, Error> {
    consume("agents", "fleet-1", session, &world.context(now())).await
}

/// Both read it before either writes.
async fn race(uses: i32) -> (World, [bool; 2]) {
    let world = World::new(&approved(uses), 2);
    let (one, two) = tokio::join!(opens(&world, "s-1"), opens(&world, "s-2"));
    let came = [one.unwrap(), two.unwrap()];
    assert_eq!((world.answered("PATCH", 200), world.answered("PATCH", 409)), (came.iter().filter(|c| **c).count(), 1));
    (world, came)
}

fn record(world: &World) -> (i32, Vec<String>) {
    let status = world.approval().status.unwrap();
    (status.used, status.consumers)
}

#[tokio::test]
async fn of_two_sessions_that_race_for_the_last_use_one_is_opened() {
    let (world, came) = race(1).await;
    assert_eq!(came.iter().filter(|c| **c).count(), 1, "{came:?}");
    let winner = if came[0] { "s-1" } else { "s-2" };
    assert_eq!(record(&world), (1, vec![winner.to_owned()]));
    assert!(!opens(&world, "s-3").await.unwrap(), "it stays used up");
    assert!(opens(&world, winner).await.unwrap(), "whom it opened it opens again");
    assert_eq!(record(&world), (1, vec![winner.to_owned()]));
}

#[tokio::test]
async fn of_two_sessions_that_race_for_two_uses_none_is_lost() {
    let (world, came) = race(2).await;
    let (used, mut consumers) = record(&world);
    consumers.sort();
    assert_eq!((came, used, consumers), ([true, true], 2, vec!["s-1".to_owned(), "s-2".to_owned()]));
}

#[tokio::test]
async fn a_session_that_comes_again_after_a_crash_is_counted_once() {
    let world = World::new(&approved(2), 0);
    // The use is on record, and the controller dies before it knows.
    world.lose_an_answer();
    assert!(opens(&world, "s-1").await.is_err());
    assert_eq!(record(&world), (1, vec!["s-1".to_owned()]));
    // The next leader opens the same session, and then it too dies before the session says so.
    for _ in 0..2 {
        assert!(opens(&world, "s-1").await.unwrap());
    }
    assert_eq!((record(&world).0, world.answered("PATCH", 200)), (1, 0), "nothing is written again");
    assert!(opens(&world, "s-2").await.unwrap());
    assert!(!opens(&world, "s-3").await.unwrap());
}

#[tokio::test]
async fn a_no_between_look_and_use_keeps_the_session_off() {
    let world = World::new(&approved(1), 0);
    world.change_before_a_write(|approval| approval["spec"]["decisions"][0]["decision"] = json!("Deny"));
    assert!(!opens(&world, "s-1").await.unwrap());
    assert_eq!((record(&world), world.answered("PATCH", 409)), ((0, vec![]), 1));
}

#[tokio::test]
async fn a_time_that_is_over_opens_nothing_whatever_the_phase_says() {
    let world = World::new(&approved(1), 0);
    let late = world.context("2026-01-01T13:00:00Z".parse().unwrap());
    assert_eq!(world.approval().status.unwrap().phase, Some(ApprovalPhase::Approved));
    assert!(!consume("agents", "fleet-1", "s-1", &late).await.unwrap());
    assert_eq!(record(&world), (0, vec![]));
}

/// Others write all the time, each for a good reason: it gives up, and nothing is on record for the session.
#[tokio::test]
async fn who_is_overtaken_each_time_is_decided_anew() {
    let world = World::new(&approved(1), 0);
    for _ in 0..ATTEMPTS {
        world.change_before_a_write(|approval| approval["status"]["heard"] = json!(["somebody"]));
    }
    assert!(!opens(&world, "s-1").await.unwrap());
    assert_eq!((record(&world), world.answered("PATCH", 409)), ((0, vec![]), ATTEMPTS));
    assert!(opens(&world, "s-1").await.unwrap(), "the next try");
}
