//! Rotation, as the sidecars' own verifier sees it.

use super::*;

const NAME: &str = "exeat issuer root";
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// `count` roots, each made when the one before it is a year old, and the crosses, newest first.
fn line(count: usize) -> (Vec<Root>, Vec<Cross>) {
    let mut roots = vec![root()];
    let mut crosses = Vec::new();
    for year in 1..count {
        let (next, cross) = roots[year - 1].succeed(NAME, year_of(year)).unwrap();
        roots.push(next);
        crosses.insert(0, cross);
    }
    (roots, crosses)
}

fn year_of(index: usize) -> Timestamp {
    later(YEAR * u32::try_from(index).unwrap())
}

fn served(root: &Root, crosses: &[Cross], now: Timestamp) -> Leaf {
    let text: String = crosses.iter().map(Cross::cert_pem).collect();
    root.issue(&[SERVICE], LEAF_VALIDITY, now).unwrap().with_crosses(&read_crosses(root, &text, now))
}

#[test]
fn who_trusts_any_of_the_last_roots_accepts_what_the_newest_issues() {
    let (roots, crosses) = line(1 + usize::from(MAX_CROSSES));
    let now = year_of(roots.len() - 1);
    let leaf = served(roots.last().unwrap(), &crosses, now);
    assert!(leaf.certified_key().is_ok());
    for (age, root) in roots.iter().enumerate() {
        assert_eq!(verdict(root, &leaf, SERVICE, now), Ok(()), "trust in root {age} alone");
        assert!(verdict(root, &leaf, "other.exeat-system.svc", now).is_err(), "root {age}, another name");
    }
    for pair in roots.windows(2) {
        assert_eq!(verdict_of(&[&pair[1], &pair[0]], &leaf, SERVICE, now), Ok(()), "the overlap bundle");
        let former = served(&pair[0], &[], now);
        assert_eq!(verdict_of(&[&pair[1], &pair[0]], &former, SERVICE, now), Ok(()), "a replica that is behind");
        assert!(verdict(&pair[1], &former, SERVICE, now).is_err(), "the new root alone is not enough for it");
    }
    assert!(verdict(&root(), &leaf, SERVICE, now).is_err(), "a stranger's root");
}

#[test]
fn without_crosses_only_the_newest_root_helps() {
    let (roots, _) = line(2);
    let leaf = served(&roots[1], &[], year_of(1));
    assert!(verdict(&roots[0], &leaf, SERVICE, year_of(1)).is_err());
    assert_eq!(verdict(&roots[1], &leaf, SERVICE, year_of(1)), Ok(()));
}

#[test]
fn more_crosses_than_the_path_length_allows_are_neither_shown_nor_accepted() {
    let (roots, crosses) = line(2 + usize::from(MAX_CROSSES));
    let now = year_of(roots.len() - 1);
    let newest = roots.last().unwrap();
    let leaf = served(newest, &crosses, now);
    assert_eq!(certificates(&leaf.chain_pem).count(), 1 + usize::from(MAX_CROSSES));
    assert_eq!(verdict(&roots[1], &leaf, SERVICE, now), Ok(()));
    assert!(verdict(&roots[0], &leaf, SERVICE, now).is_err());
}

#[test]
fn a_stolen_key_signs_no_other_name_through_a_cross() {
    let (roots, crosses) = line(3);
    let now = year_of(2);
    for name in ["kubernetes.default.svc", "sts.amazonaws.com", "10.0.0.1"] {
        let leaf = roots[2].sign(&[name.to_owned()], LEAF_VALIDITY, now).unwrap().with_crosses(&crosses);
        for root in &roots {
            let refused = verdict(root, &leaf, name, now).unwrap_err();
            assert!(format!("{refused:?}").contains("NameConstraintViolation"), "{name}: {refused:?}");
        }
    }
}

#[test]
fn a_cross_carries_the_constraints_itself() {
    let (_, crosses) = line(2);
    let (_, block) = x509_parser::pem::parse_x509_pem(crosses[0].cert_pem().as_bytes()).unwrap();
    let certificate = block.parse_x509().unwrap();
    let constraints = certificate.name_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.permitted_subtrees.is_some());
    let basic = certificate.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca);
    assert_eq!(basic.value.path_len_constraint, Some(u32::from(MAX_CROSSES)));
}

#[test]
fn a_cross_lives_no_longer_than_either_root_and_is_dropped_then() {
    let (roots, crosses) = line(3);
    assert_eq!(crosses[1].validity().not_after, roots[0].validity().not_after);
    let end = roots[0].validity().not_after;
    let second = SignedDuration::from_secs(1);
    for (now, shown) in [(end, 3), (end + second, 2), (roots[1].validity().not_after + second, 1)] {
        let leaf = served(&roots[2], &crosses, now);
        assert_eq!(certificates(&leaf.chain_pem).count(), shown, "{now}");
        assert_eq!(verdict(&roots[0], &leaf, SERVICE, now).is_ok(), shown == 3, "{now}");
        assert_eq!(verdict(&roots[1], &leaf, SERVICE, now).is_ok(), shown >= 2, "{now}");
        assert_eq!(verdict(&roots[2], &leaf, SERVICE, now), Ok(()));
    }
}

#[test]
fn what_does_not_lead_down_from_the_root_is_left_out() {
    let (roots, crosses) = line(3);
    let now = year_of(2);
    let read = |text: String| read_crosses(&roots[2], &text, now).len();
    let [first, second] = [crosses[0].cert_pem(), crosses[1].cert_pem()];
    assert_eq!(read(format!("{first}{second}")), 2);
    assert_eq!(read(format!("{first}nonsense\n{second}")), 2);
    assert_eq!(read(second.to_owned()), 0, "its key is not the root's");
    assert_eq!(read(format!("{second}{first}")), 0);
    let broken = first.replace("MII", "AAA");
    assert_eq!(read(format!("{broken}{second}")), 0);
    assert_eq!(read(String::new()), 0);
    let leaf = roots[2].issue(&[SERVICE], LEAF_VALIDITY, now).unwrap();
    assert_eq!(read(leaf.chain_pem), 0);
}

#[test]
fn a_root_that_is_over_has_no_successor_of_its_own() {
    let error = root().succeed(NAME, later(ROOT_VALIDITY + DAY)).unwrap_err();
    assert_eq!(error.code(), "CertificateNotValid");
}

#[test]
fn a_successor_is_a_root_like_any_other() {
    let (roots, _) = line(2);
    let next = &roots[1];
    assert_eq!(next.permitted(), roots[0].permitted());
    assert_eq!(next.validity().not_after, later(YEAR + ROOT_VALIDITY));
    Root::from_pem(next.cert_pem(), next.key_pem(), year_of(1)).unwrap();
    assert_eq!(
        Root::from_pem(next.cert_pem(), roots[0].key_pem(), year_of(1)).unwrap_err().code(),
        "PrivateKeyMismatch",
        "with a key of its own"
    );
}

#[test]
fn a_root_is_replaced_at_two_thirds_of_its_life_or_when_asked_by_a_new_word() {
    let life = root().validity();
    let request = |asked, handled| Request { asked, handled };
    let early = later(YEAR);
    for (asked, handled, due) in [
        (None, None, false),
        (Some("1"), None, true),
        (Some("1"), Some("1"), false),
        (Some("2"), Some("1"), true),
        (None, Some("1"), false),
        (Some(""), Some("1"), false),
    ] {
        assert_eq!(root_due(life, request(asked, handled), early), due, "{asked:?} {handled:?}");
    }
    assert!(root_due(life, Request::default(), later(ROOT_VALIDITY / 3 * 2)));
    assert!(!root_due(life, Request::default(), later(ROOT_VALIDITY / 3 * 2 - DAY)));
}

#[test]
fn a_root_is_looked_for_several_times_within_any_overlap() {
    let minute = Duration::from_secs(60);
    assert_eq!(look_interval(ROOT_OVERLAP, minute), minute);
    assert_eq!(look_interval(Duration::from_secs(20), minute), Duration::from_secs(5));
    assert_eq!(look_interval(Duration::ZERO, minute), Duration::from_secs(1));
    assert_eq!(overlap_end(noon(), DAY), later(DAY));
    assert_eq!(overlap_end(noon(), Duration::MAX), Timestamp::MAX);
}
