//! Writes the CustomResourceDefinitions to `config/crd` and into the chart. `--check` writes nothing and fails on any difference.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HEADER: &str = "# Generated from crds/src/v1alpha1 by `make generate`. Do not edit.\n";

fn main() -> ExitCode {
    let check = std::env::args().any(|a| a == "--check");
    match run(Path::new("."), check) {
        Ok(stale) if stale.is_empty() => ExitCode::SUCCESS,
        Ok(stale) => {
            eprintln!("these generated files are not up to date; run `make generate` and commit them:");
            for path in stale {
                eprintln!("  {}", path.display());
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("crdgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, check: bool) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut stale = Vec::new();
    for (path, text) in files(root)? {
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(path);
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text)?;
    }
    Ok(stale)
}

fn files(root: &Path) -> Result<Vec<(PathBuf, String)>, Box<dyn Error>> {
    let mut files = Vec::new();
    for crd in exeat_crds::all_crds() {
        let value = serde_json::to_value(&crd)?;
        let name = format!("{}.yaml", crd.spec.names.plural);
        let plain = serde_saphyr::to_string(&value)?;
        files.push((root.join("config/crd").join(&name), format!("{HEADER}{plain}")));
        files.push((root.join("charts/exeat/templates/crds").join(&name), chart_copy(&plain)?));
    }
    Ok(files)
}

/// The chart may leave the definitions out, and keeps them when it goes: deleting a definition deletes every object of its kind.
fn chart_copy(plain: &str) -> Result<String, Box<dyn Error>> {
    let (before, after) = plain.split_once("metadata:\n").ok_or("a definition without metadata")?;
    let mut text = String::from(HEADER);
    writeln!(text, "{{{{- if .Values.crds.install }}}}")?;
    write!(
        text,
        "{before}metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n{}",
        after.replace("{{", "{{ \"{{\" }}")
    )?;
    writeln!(text, "{{{{- end }}}}")?;
    Ok(text)
}
