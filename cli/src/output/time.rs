//! Times as people read them.

use jiff::Timestamp;

/// How long ago, as kubectl says it: `45s`, `7m`, `3h12m`, `5d`.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    spoken(now.duration_since(since).as_secs())
}

/// How long until then; `over` once it has come.
pub fn until(at: Timestamp, now: Timestamp) -> String {
    let left = at.duration_since(now).as_secs();
    if left <= 0 { "over".to_owned() } else { spoken(left) }
}

/// The same of an RFC 3339 text; the text itself where it is none.
pub fn until_text(at: Option<&str>, now: Timestamp) -> String {
    match at {
        None => String::new(),
        Some(text) => text.parse().map_or_else(|_| text.to_owned(), |at| until(at, now)),
    }
}

/// Seconds, in one or two units.
pub fn spoken(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (d, h, m, s) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let two = |big: i64, unit: char, small: i64, rest: char| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{rest}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(m, 'm', s, 's'),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => two(d * 24 + h, 'h', m, 'm'),
        172_800..691_200 => two(d, 'd', h, 'h'),
        _ => format!("{d}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (seconds, text) in [
            (-3, "0s"),
            (45, "45s"),
            (130, "2m10s"),
            (420, "7m"),
            (5_400, "90m"),
            (11_520, "3h12m"),
            (200_000, "2d7h"),
            (900_000, "10d"),
        ] {
            assert_eq!(spoken(seconds), text);
        }
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(until(at, at), "over");
        assert_eq!(until_text(Some("2026-01-01T00:01:00Z"), at), "60s");
        assert_eq!((until_text(Some("soon"), at), until_text(None, at)), ("soon".to_owned(), String::new()));
    }
}
