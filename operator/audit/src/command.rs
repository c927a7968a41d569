//! `exeat-controller verify-audit`.

use crate::key::Key;
use crate::verify::{Extent, Keys, Report, Verifier};
use clap::Args;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// What to verify.
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct VerifyArgs {
    /// The log, one JSON record a line, in the order in which it was written; other lines are skipped. "-": standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Key of a program, as PROGRAM=FILE with controller or issuer; the entry "key" of its Secret exeat-audit-key-PROGRAM. Give old keys too.
    #[arg(long = "key-file", value_name = "PROGRAM=FILE", value_parser = key_file)]
    pub key_files: Vec<(String, PathBuf)>,

    /// The heads: kubectl get configmap exeat-audit-heads --output=json. Fetch them before the log.
    #[arg(long, value_name = "FILE")]
    pub heads: Option<PathBuf>,

    /// The log holds some chains only, or not from their first record: neither is a finding.
    #[arg(long)]
    pub partial: bool,
}

fn key_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((program @ ("controller" | "issuer"), file)) if !file.is_empty() => Ok((program.to_owned(), file.into())),
        _ => Err("write controller=FILE or issuer=FILE".to_owned()),
    }
}

/// Why a log was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file can't be read.
    #[error("{name}: {cause}")]
    File {
        /// Which.
        name: String,
        /// What is wrong.
        cause: String,
    },
    /// The report can't be written.
    #[error("the report can't be written: {0}")]
    Report(#[from] io::Error),
}

impl VerifyError {
    fn of(path: &Path, cause: impl std::fmt::Display) -> Self {
        Self::File { name: path.display().to_string(), cause: cause.to_string() }
    }
}

/// Verifies, and writes the report to `out`. Returns whether all is well, and does so where the reader has seen enough and gone: the verdict
/// is no less true.
///
/// # Errors
/// The file that can't be read.
pub fn run(args: &VerifyArgs, out: &mut impl Write) -> Result<bool, VerifyError> {
    let report = verify(args)?;
    match write(&report, out) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(report.findings.is_empty()),
    }
}

/// Verifies.
///
/// # Errors
/// The file that can't be read.
pub fn verify(args: &VerifyArgs) -> Result<Report, VerifyError> {
    let mut keys = Keys::default();
    for (program, path) in &args.key_files {
        keys.add(program, Key::parse(&read(path)?).map_err(|error| VerifyError::of(path, error))?);
    }
    let heads = match &args.heads {
        Some(path) => entries(&read(path)?).map_err(|error| VerifyError::of(path, error))?,
        None => BTreeMap::new(),
    };
    let mut verifier = Verifier::new(&keys);
    for file in &args.files {
        for line in BufReader::new(open(file)?).split(b'\n') {
            verifier.line(&line.map_err(|error| VerifyError::of(file, error))?);
        }
    }
    Ok(verifier.finish(&heads, if args.partial { Extent::Part } else { Extent::Whole }))
}

/// A log's file; "-" is standard input.
///
/// # Errors
/// When it can't be opened.
pub fn open(path: &Path) -> Result<Box<dyn io::Read>, VerifyError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(std::fs::File::open(path).map_err(|error| VerifyError::of(path, error))?))
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<String>, VerifyError> {
    std::fs::read_to_string(path).map(zeroize::Zeroizing::new).map_err(|error| VerifyError::of(path, error))
}

/// The entries of a ConfigMap, which has none until the first record.
fn entries(text: &str) -> Result<BTreeMap<String, String>, String> {
    #[derive(serde::Deserialize)]
    struct Heads {
        kind: String,
        #[serde(default)]
        data: BTreeMap<String, String>,
    }
    let heads: Heads = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if heads.kind != "ConfigMap" {
        return Err(format!("is a {:?}, not the ConfigMap exeat-audit-heads", heads.kind));
    }
    Ok(heads.data)
}

fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    for chain in &report.chains {
        let origin = &chain.origin;
        let anchored = chain.anchored.map_or_else(|| "no head".to_owned(), |at| format!("head at {at}"));
        writeln!(
            out,
            "chain program={:?} writer={:?} boot={:?}: {} records, {} to {}, {anchored}",
            origin.program, origin.writer, origin.boot, chain.records, chain.first, chain.last
        )?;
    }
    let records: u64 = report.chains.iter().map(|chain| chain.records).sum();
    let (chains, findings) = (report.chains.len(), report.findings.len());
    writeln!(out, "{records} records in {chains} chains, {} other lines, {findings} findings", report.foreign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::tests::{key, lines, origin};
    use crate::heads::{Anchor, entry_name};
    use jiff::Timestamp;

    #[test]
    fn a_log_is_verified_from_files() {
        let folder = std::env::temp_dir().join(format!("exeat-audit-verify-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (lines, head) = lines(key('1'), origin("pod-a", "b0"), 3);
        let anchor = Anchor::new("issuer", key('1').id(), &head.unwrap(), Timestamp::UNIX_EPOCH);
        let data = BTreeMap::from([(entry_name("pod-a", "b0"), serde_json::to_string(&anchor).unwrap())]);
        let file = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let args = VerifyArgs {
            files: vec![file("log", &lines.concat())],
            key_files: vec![("issuer".to_owned(), file("key", key('1').to_text().as_bytes()))],
            heads: Some(file("heads", serde_json::json!({"kind": "ConfigMap", "data": data}).to_string().as_bytes())),
            partial: false,
        };
        let verify = |args: &VerifyArgs| {
            let mut out = Vec::new();
            (run(args, &mut out).unwrap(), String::from_utf8(out).unwrap())
        };
        let (well, text) = verify(&args);
        assert!(well && text.ends_with("3 records in 1 chains, 0 other lines, 0 findings\n"), "{text}");
        file("log", &lines[..2].concat());
        let (well, text) = verify(&args);
        assert!(!well && text.starts_with("Truncated writer=\"pod-a\" boot=\"b0\" sequence=2: "), "{text}");
        let missing = VerifyArgs { files: vec![folder.join("none")], ..args.clone() };
        assert!(run(&missing, &mut Vec::new()).unwrap_err().to_string().contains("none: "));
        let wrong = VerifyArgs { heads: Some(file("heads", br#"{"kind":"Secret"}"#)), ..args };
        assert!(run(&wrong, &mut Vec::new()).unwrap_err().to_string().contains("exeat-audit-heads"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
