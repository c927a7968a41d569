//! What a release hands to Krew, made of the program that the tests run.

use super::Folder;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const BASE: &str = "https://releases.example.com/exeat?of=1&raw";
const HOME: &str = "https://example.com/exeat";

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn script(name: &str, arguments: &[&str]) -> Output {
    run(&format!("{}/krew/{name}", env!("CARGO_MANIFEST_DIR")), arguments)
}

fn said(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn sum(file: &str) -> String {
    said(run("sha256sum", &[file])).split(' ').next().unwrap().to_owned()
}

/// As Krew reads it.
fn manifest(folder: &str) -> Value {
    let text = said(script("release.sh", &[VERSION, folder, BASE, HOME]));
    assert!(!text.contains("{{") && !text.starts_with('#'), "{text}");
    serde_saphyr::from_str(&text).unwrap()
}

#[test]
fn what_krew_installs_is_packed_and_the_manifest_tells_its_sum() {
    let folder = Folder::new("krew");
    let at = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let (ours, other) = match std::env::consts::ARCH {
        "x86_64" => (("x86_64-unknown-linux-gnu", "amd64"), ("aarch64-unknown-linux-gnu", "arm64")),
        "aarch64" => (("aarch64-unknown-linux-gnu", "arm64"), ("x86_64-unknown-linux-gnu", "amd64")),
        // Nothing is released for it.
        _ => return,
    };
    // Debug programs are large for their symbols.
    let program = at("stripped");
    said(run("strip", &["-o", &program, env!("CARGO_BIN_EXE_kubectl-exeat")]));
    let pack = |program: &str, triple: &str, into: &str| {
        said(script("archive.sh", &[program, triple, VERSION, &at(into)])).trim().to_owned()
    };

    let archive = pack(&program, ours.0, "out");
    let name = format!("kubectl-exeat-{VERSION}-linux-{}.tar.gz", ours.1);
    assert_eq!(Path::new(&archive).file_name().unwrap().to_str(), Some(name.as_str()));

    let one = manifest(&at("out"));
    for (field, value) in [
        ("/apiVersion", json!("krew.googlecontainertools.github.com/v1alpha2")),
        ("/kind", json!("Plugin")),
        ("/metadata/name", json!("exeat")),
        ("/spec/version", json!(format!("v{VERSION}"))),
        ("/spec/homepage", json!(HOME)),
    ] {
        assert_eq!(one.pointer(field), Some(&value), "{field}");
    }
    let short = one["spec"]["shortDescription"].as_str().unwrap();
    assert!(short.len() <= 50 && !short.ends_with('.'), "Krew cuts what is longer: {short}");
    let platform = |arch: &str, sum: String| {
        json!({"selector": {"matchLabels": {"os": "linux", "arch": arch}}, "bin": "kubectl-exeat", "sha256": sum,
            "uri": format!("{BASE}/kubectl-exeat-{VERSION}-linux-{arch}.tar.gz")})
    };
    assert_eq!(one["spec"]["platforms"], json!([platform(ours.1, sum(&archive))]), "what is not built is not listed");

    // As Krew does it.
    std::fs::create_dir(at("installed")).unwrap();
    said(run("tar", &["-xzf", &archive, "-C", &at("installed")]));
    let bin = format!("{}/{}", at("installed"), one["spec"]["platforms"][0]["bin"].as_str().unwrap());
    assert_eq!(said(run(&bin, &["--version"])), format!("kubectl-exeat {VERSION}\n"));

    // What another machine has brought; its program can't be run here.
    let theirs = folder.file("theirs", "for another machine");
    let second = pack(&theirs, other.0, "out");
    assert_eq!(sum(&second), sum(&pack(&theirs, other.0, "again")), "the same bytes from the same program");
    let both = manifest(&at("out"));
    let mut platforms = vec![platform(ours.1, sum(&archive)), platform(other.1, sum(&second))];
    platforms.sort_by_key(|platform| platform["uri"].to_string());
    assert_eq!(both["spec"]["platforms"], json!(platforms));
}

#[test]
fn what_is_not_released_is_refused() {
    let folder = Folder::new("krew-refused");
    let at = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let program = folder.file("program", "some machine's");
    said(script("archive.sh", &[&program, "x86_64-unknown-linux-gnu", VERSION, &at("out")]));
    for (refused, code) in [
        (script("archive.sh", &[&program, "aarch64-apple-darwin", VERSION, &at("out")]), 2),
        (script("release.sh", &["9.9.9", &at("out"), BASE, HOME]), 1),
        (script("release.sh", &["dev", &at("out"), BASE, HOME]), 2),
        (script("release.sh", &[VERSION, &at("out"), "http://plain", HOME]), 2),
    ] {
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(code), 0), "{refused:?}");
    }
}
