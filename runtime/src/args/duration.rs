//! Durations as Go and Kubernetes write them.

use std::fmt::Write;
use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration; write a number with a unit, as 15s, 1m30s, 500ms or 24h")]
pub struct DurationError(String);

const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration as Go's `time.ParseDuration` does: `15s`, `1m30s`, `1.5h`, `0`. Negative ones are refused.
///
/// # Errors
/// When the text is empty, has no unit, has an unknown one, or is too large.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let step = segment(rest).and_then(|(step, after)| {
            rest = after;
            nanos.checked_add(step)
        });
        nanos = step.ok_or_else(|| DurationError(text.to_owned()))?;
    }
    if text.is_empty() { Err(DurationError(String::new())) } else { Ok(Duration::from_nanos(nanos)) }
}

/// One number with its unit, in nanoseconds, and what follows.
fn segment(text: &str) -> Option<(u64, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.chars() {
        place /= 10;
        nanos = nanos.checked_add(place * u64::from(digit.to_digit(10)?))?;
    }
    Some((nanos, rest))
}

/// Writes a duration so that [`parse_duration`] reads the same one again: `1m30s`, `500ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for unit in ["h", "m", "s", "ms", "us", "ns"] {
        let scale = UNITS.iter().find(|(name, _)| *name == unit).map_or(1, |(_, scale)| u128::from(*scale));
        let count = rest / scale;
        if count > 0 {
            // Writing to a String can't fail.
            let _ = write!(text, "{count}{unit}");
        }
        rest %= scale;
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let millis = |text| parse_duration(text).unwrap().as_millis();
        assert_eq!(millis("15s"), 15_000);
        assert_eq!(millis("1m30s"), 90_000);
        assert_eq!(millis("24h"), 86_400_000);
        assert_eq!(millis("1.5h"), 5_400_000);
        assert_eq!(millis("1h0m0.5s"), 3_600_500);
        assert_eq!(millis("500ms"), 500);
        assert_eq!(millis(".5s"), 500);
        assert_eq!(millis("0"), 0);
        assert_eq!(parse_duration("3us2ns").unwrap().as_nanos(), 3002);
        assert_eq!(parse_duration("3µs").unwrap().as_nanos(), 3000);
    }

    #[test]
    fn refuses_with_the_text_and_the_fix() {
        for text in ["", "15", "s", "-5s", "+5s", "5 s", "1d", ".s", "1..2s", "1.2.3s", "99999999999h", "5s5"] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("as 15s, 1m30s"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(nanos: u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
