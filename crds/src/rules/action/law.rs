//! What the answers to the three questions that a pattern is asked owe to each other, whatever its kind.

use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// Checks it of two patterns and these calls.
pub(super) fn check<P: Debug>(
    (x, y): (&P, &P),
    calls: &[String],
    covers: fn(&P, &str) -> bool,
    subset: fn(&P, &P) -> bool,
    overlaps: fn(&P, &P) -> bool,
) -> TestCaseResult {
    prop_assert!(subset(x, x) && overlaps(x, x), "{:?}", x);
    prop_assert_eq!(overlaps(x, y), overlaps(y, x));
    prop_assert!(!subset(x, y) || overlaps(x, y), "{:?} in {:?}", x, y);
    for call in calls {
        let (in_x, in_y) = (covers(x, call), covers(y, call));
        prop_assert!(!(subset(x, y) && in_x) || in_y, "{:?} in {:?} but {}", x, y, call);
        prop_assert!(!(in_x && in_y) || overlaps(x, y), "{:?} and {:?} both take {}", x, y, call);
    }
    Ok(())
}
