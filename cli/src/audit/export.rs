//! `audit export`: records of logs for other programs.

use super::ExportArgs;
use super::record::parse;
use crate::error::{Error, Exit};
use crate::output::{Format, Out};
use exeat_audit::command::open;
use exeat_audit::record::Record;
use std::io::{BufRead, BufReader};

/// Columns of the CSV, in this order. Fields that a later version adds are in the JSON alone.
pub const COLUMNS: [&str; 27] = [
    "time",
    "program",
    "writer",
    "boot",
    "sequence",
    "cluster",
    "event",
    "reason",
    "message",
    "namespace",
    "session",
    "sessionUid",
    "policy",
    "provider",
    "serviceAccount",
    "pod",
    "podUid",
    "approval",
    "approvalDigest",
    "approver",
    "grantDigest",
    "principal",
    "sessionExpiresAt",
    "credentialID",
    "credentialExpiresAt",
    "claimedJustification",
    "lost",
];

/// `audit export`.
///
/// # Errors
/// A file that can't be read.
pub fn run(args: &ExportArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    let mut records = Vec::new();
    let mut foreign = 0_u64;
    for file in &args.files {
        let input = open(file).map_err(|error| Error::Usage(error.to_string()))?;
        for line in BufReader::new(input).lines() {
            let line = line.map_err(|error| Error::Usage(format!("{}: {error}", file.display())))?;
            match parse(&line) {
                Some(record) => records.push(record),
                None if line.trim().is_empty() => {}
                None => foreign += 1,
            }
        }
    }
    if out.format == Format::Csv {
        out.to.write_all(csv(&records).as_bytes())?;
    } else {
        out.data(&records)?;
    }
    out.note(&format!(
        "{} records, {foreign} other lines left out; `audit verify` tells whether they are genuine",
        records.len()
    ))?;
    Ok(Exit::Done)
}

/// RFC 4180, with a heading.
pub fn csv(records: &[Record]) -> String {
    let mut text = COLUMNS.join(",") + "\r\n";
    for record in records {
        let cells: Vec<String> = COLUMNS.iter().map(|column| cell(record, column)).collect();
        text += &cells.join(",");
        text += "\r\n";
    }
    text
}

fn cell(record: &Record, column: &str) -> String {
    let value = match (record.text(column), record.number(column)) {
        (Some(text), _) => text.to_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => return String::new(),
    };
    // A spreadsheet would take these for formulas, also in full width, or leave the first two out and take what follows (OWASP, CSV injection).
    const BEGINNINGS: [char; 10] = ['\t', '\r', '=', '+', '-', '@', '＝', '＋', '－', '＠'];
    let guarded = if value.starts_with(BEGINNINGS) { format!("'{value}") } else { value };
    if guarded.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::tests::line;

    #[test]
    fn csv_keeps_its_columns_whatever_the_text() {
        let mut record = parse(&line(1, "CredentialsIssued")).unwrap();
        record.set("claimedJustification", "=HYPERLINK(\"x\")".to_owned());
        let text = csv(&[record]);
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[0].split(',').count(), COLUMNS.len());
        assert!(
            lines[1].contains("\"a,\"\"b\"\"\"") && lines[1].contains("\"'=HYPERLINK(\"\"x\"\")\""),
            "{}",
            lines[1]
        );
        assert!(lines[1].starts_with("2026-01-01T00:00:01Z,issuer,w,b,1,,CredentialsIssued,Active,"), "{}", lines[1]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn no_cell_is_taken_for_a_formula() {
        for (written, expected) in [
            ("=1+1", "'=1+1"),
            ("-2", "'-2"),
            ("\t=1", "'\t=1"),
            ("\r=2", "\"'\r=2\""),
            ("＝3", "'＝3"),
            ("a=1", "a=1"),
        ] {
            let mut record = parse(&line(1, "CredentialsIssued")).unwrap();
            record.set("claimedJustification", written.to_owned());
            assert_eq!(cell(&record, "claimedJustification"), expected);
        }
    }
}
