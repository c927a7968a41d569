//! Go-style durations as Kubernetes users write them: `30m`, `1h30m`, `90s`.

use jiff::SignedDuration;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration: write it like 30m, 1h30m or 90s")]
pub struct DurationError {
    text: String,
}

/// Parses `h`, `m` and `s` parts, each with at most nine digits and no fraction, in any order. No sign, not empty.
///
/// # Errors
/// The text, and how to write it.
pub fn parse(text: &str) -> Result<SignedDuration, DurationError> {
    parse_seconds(text).map(SignedDuration::from_secs).ok_or_else(|| DurationError { text: text.to_owned() })
}

fn parse_seconds(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 9 {
            return None;
        }
        let number: i64 = rest[..digits].parse().ok()?;
        let factor = match rest.as_bytes().get(digits)? {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

/// Writes whole seconds the way users write them: `1h30m`, `45s`, `0s`.
pub fn format(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    for (n, unit) in [(h, 'h'), (m, 'm'), (s, 's')] {
        if n != 0 {
            text.push_str(&n.to_string());
            text.push(unit);
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_users_write() {
        for (text, seconds) in [("30m", 1800), ("1h30m", 5400), ("90s", 90), ("168h", 604_800)] {
            assert_eq!(parse(text).unwrap().as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_how() {
        for text in ["", "30", "m", "-5m", "1d", "1.5h", "9999999999s", "5 m", "é"] {
            assert!(parse(text).unwrap_err().to_string().contains("write it like"), "{text}");
        }
    }

    #[test]
    fn formats_back() {
        for text in ["30m", "1h30m", "45s", "2h5s", "0s"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }
}
