//! Text of people and agents: what is shown of it, and the small languages that are read from it.

use exeat_crds::rules::parse_narrowing;
use exeat_crds::{duration, text};

use super::must;
use crate::engine::Target;

pub(super) struct Text;

/// Characters that forge or reorder what a reader sees: controls (Cc), the explicit directional formatting characters of UAX #9,
/// separators that end a line, zero-width ones, and tags.
fn misleads(c: char) -> bool {
    const RANGES: [(u32, u32); 10] = [
        (0x0000, 0x001f),
        (0x007f, 0x009f),
        (0x061c, 0x061c),
        (0x200b, 0x200f),
        (0x2028, 0x2029),
        (0x202a, 0x202e),
        (0x2060, 0x2064),
        (0x2066, 0x2069),
        (0xfeff, 0xfeff),
        (0xe0000, 0xe007f),
    ];
    RANGES.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(c)))
}

impl Target for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn tokens(&self) -> &'static [&'static str] {
        &[
            "\u{202e}",
            "\u{2066}",
            "\u{200b}",
            "\u{feff}",
            "\u{e0041}",
            "\u{1b}[31m",
            "\r\n",
            "\u{85}",
            "é",
            "👩‍👩‍👧",
            "1h30m",
            "90s",
            "999999999h",
            " on ",
            "s3:GetObject",
            "arn:aws:s3:::a/*",
            "- {actions: [a], resources: [b]}",
            "&a [*a]",
            "!!binary",
        ]
    }

    fn judge(&mut self, input: &[u8]) -> Result<String, String> {
        let given = String::from_utf8_lossy(input);
        let shown = text::sanitize(&given);
        must(!shown.chars().any(misleads), || format!("{shown:?} can mislead"))?;
        must(shown.chars().count() <= text::MAX, || format!("{} characters", shown.chars().count()))?;
        must(text::sanitize(&shown) == shown, || format!("{shown:?} changes when it is sanitized again"))?;
        let mut rest = given.chars();
        must(shown.chars().all(|c| rest.any(|other| other == c)), || format!("{shown:?} says what was not written"))?;
        let harmless = given.chars().count() <= text::MAX && !given.chars().any(misleads);
        let cut = text::cut(&given, input.len() / 2);
        must(given.starts_with(cut) && cut.len() <= input.len() / 2, || format!("{cut:?} is no beginning"))?;
        let length = read_duration(&given)?;
        let narrowing = read_narrowing(&given)?;
        Ok(format!("kept={} harmless={harmless} duration={length} narrowing={narrowing}", shown.len().min(4)))
    }
}

/// What is read as a duration is written so that it reads the same.
fn read_duration(given: &str) -> Result<bool, String> {
    let Ok(read) = duration::parse(given) else { return Ok(false) };
    must(!read.is_negative(), || format!("{given:?} is negative"))?;
    let written = duration::format(read);
    // Hours of ten digits are written but not read: the parts are bounded, not their sum.
    let again = duration::parse(&written);
    must(again.as_ref().is_ok_and(|again| *again == read) || written.len() > 10, || {
        format!("{given:?} becomes {written:?}, which reads as {again:?}")
    })?;
    Ok(true)
}

/// What is read as a narrowing reads the same in its other form.
fn read_narrowing(given: &str) -> Result<String, String> {
    match parse_narrowing(given) {
        Ok(statements) => {
            let listed = serde_json::to_string(&statements).map_err(|error| error.to_string())?;
            let again = parse_narrowing(&listed);
            // YAML takes fewer characters than a line does; no action or resource holds any of the others.
            let plain = listed.len() <= 4096 && listed.chars().all(|c| c.is_ascii_graphic() || c == ' ');
            must(!plain || again.as_ref() == Ok(&statements), || {
                format!("{given:?} reads as {statements:?}, its list as {again:?}")
            })?;
            Ok(statements.len().to_string())
        }
        Err(error) => {
            let told = error.to_string();
            must(told.contains("exeat.dev/allow"), || format!("{told:?} does not name the annotation"))?;
            Ok(error.problem.chars().filter(|c| c.is_ascii_alphabetic()).take(12).collect())
        }
    }
}
