use exeat_crds::rules::{Kind, Statement};

use super::*;
use crate::SessionId;

const ROLE: &str = "arn:aws:iam::123456789012:role/agents/report-writer";

fn session() -> SessionId {
    SessionId {
        name: "report-0a1b2c3d-1".into(),
        uid: "uid".into(),
        namespace: "agents".into(),
        service_account: "report-agent".into(),
        policy: "reports".into(),
    }
}

fn grant() -> Grant {
    Grant {
        kind: Kind::Aws,
        principal: ROLE.into(),
        allow: vec![Statement {
            actions: vec!["s3:GetObject".into()],
            resources: vec!["arn:aws:s3:::reports/*".into()],
        }],
        deny: Vec::new(),
        observe: false,
    }
}

fn ask(spec: &AwsProvider, ttl: SignedDuration) -> Result<Ask, ProviderError> {
    let (session, grant) = (session(), grant());
    Ask::new(
        spec,
        &MintRequest {
            session: &session,
            cluster: "prod",
            grant: &grant,
            ttl,
            now: Timestamp::UNIX_EPOCH,
            handle: None,
            held: None,
        },
    )
}

#[test]
fn a_plain_provider_sends_the_document_and_nothing_more() {
    let ask = ask(&AwsProvider::default(), SignedDuration::from_mins(30)).unwrap();
    assert_eq!((ask.role_arn.as_str(), ask.session_name.as_str(), ask.seconds), (ROLE, "report-0a1b2c3d-1", 1800));
    assert!(ask.document.contains("s3:GetObject"), "{}", ask.document);
    assert_eq!((ask.tags.len(), ask.source_identity, ask.direct), (0, None, false));
}

#[test]
fn tags_and_source_identity_are_sent_where_the_provider_asks_for_them() {
    let spec = AwsProvider { session_tags: true, source_identity: true, ..AwsProvider::default() };
    let ask = ask(&spec, SignedDuration::from_mins(30)).unwrap();
    let tags: Vec<_> = ask.tags.iter().map(|tag| (tag.key(), tag.value())).collect();
    assert!(
        tags.contains(&("exeat:cluster", "prod")) && tags.contains(&("exeat:session", "report-0a1b2c3d-1")),
        "{tags:?}"
    );
    assert_eq!(ask.source_identity.as_deref(), Some("agents.report-agent"));
}

#[test]
fn lives_are_held_between_the_floor_and_the_ceilings() {
    let seconds = |ttl| ask(&AwsProvider::default(), ttl).map(|ask| ask.seconds);
    assert_eq!(seconds(SignedDuration::from_secs(1)), Ok(900));
    assert_eq!(seconds(SignedDuration::from_secs(901)), Ok(901));
    assert_eq!(seconds(SignedDuration::from_hours(12)), Ok(43200));
    let error = seconds(SignedDuration::from_secs(43201)).unwrap_err();
    assert_eq!(error.reason, Reason::CredentialTTLTooLong);
    assert!(error.message.contains("credentialTTL") && error.message.contains("12h"), "{error}");
    let long = ask(&AwsProvider::default(), SignedDuration::from_hours(4)).unwrap();
    assert_eq!(long.chained().seconds, 3600);
}

#[test]
fn the_claimed_end_is_never_later_than_asked_for() {
    let ask = ask(&AwsProvider::default(), SignedDuration::from_secs(900)).unwrap();
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    for (said, claimed) in [(800, 800), (900, 900), (902, 902), (1100, 960), (1200, 960)] {
        assert_eq!(ask.expires_at(at(0), at(said)), Ok(at(claimed)), "{said}");
    }
    let error = ask.expires_at(at(0), at(1201)).unwrap_err();
    assert_eq!(error.reason, Reason::ProviderRejected);
    assert!(error.message.contains("check the clocks"), "{error}");
}

#[test]
fn what_web_identity_can_not_carry_is_refused_at_policy_time() {
    let direct = AwsProvider { source: AwsSource::WebIdentity, role_arn: Some(ROLE.into()), ..AwsProvider::default() };
    assert!(check(&direct, &grant()).is_ok());
    assert!(ask(&direct, SignedDuration::from_mins(30)).unwrap().direct);
    for spec in
        [AwsProvider { session_tags: true, ..direct.clone() }, AwsProvider { source_identity: true, ..direct.clone() }]
    {
        let error = check(&spec, &grant()).unwrap_err();
        assert_eq!(error.reason, Reason::ProviderRejected);
        assert!(error.message.contains("switch it off"), "{error}");
    }
    let other =
        AwsProvider { role_arn: Some("arn:aws:iam::123456789012:role/base".into()), session_tags: true, ..direct };
    assert!(check(&other, &grant()).is_ok());
    assert!(!ask(&other, SignedDuration::from_mins(30)).unwrap().direct);
}

#[test]
fn a_document_that_is_too_large_is_refused_before_sts_is_asked() {
    let mut grant = grant();
    grant.allow[0].resources = (0..60).map(|n| format!("arn:aws:s3:::reports/{n}/{}/*", "x".repeat(60))).collect();
    let error = check(&AwsProvider::default(), &grant).unwrap_err();
    assert_eq!(error.reason, Reason::PolicyTooLarge);
}
