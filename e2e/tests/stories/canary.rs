//! Every secret that a story knows is searched for wherever it must not be, however it is written.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{
    Failure, MINISTACK, Result, Scope, agent, aws_policy, ensure, in_namespace, kubectl, kubernetes_policy, statement,
    system, wait_for,
};
use flate2::read::MultiGzDecoder;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What is looked for of a longer secret: its middle.
const LONGEST: usize = 48;
const AWS: &str = "import os, urllib.request as u; \
    token = open(os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE']).read().strip(); \
    request = u.Request(os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'], headers={'Authorization': token}); \
    print(token); print(u.urlopen(request).read().decode())";
/// Everything that a process of the agent's could read of itself and beside itself, but its own volumes in memory.
const READABLE: &str = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; \
    find / -xdev -type f -mmin -60 -size -1024k -exec cat {} + 2>/dev/null; \
    cat /etc/hosts /etc/resolv.conf; ls -lR /var/run/exeat";

/// The ways in which a secret could be written down.
fn spellings(secret: &str) -> BTreeSet<Vec<u8>> {
    let start = secret.len().saturating_sub(LONGEST) / 2;
    let part = secret.as_bytes().get(start..secret.len().min(start + LONGEST)).unwrap_or_default();
    let mut all = BTreeSet::from([part.to_vec()]);
    let once = base64s(part);
    // What a Secret holds may itself be base64.
    all.extend(once.iter().flat_map(|text| base64s(text)));
    all.extend(once);
    let hex: String = part.iter().map(|b| format!("{b:02x}")).collect();
    all.insert(hex.to_uppercase().into_bytes());
    all.insert(hex.into_bytes());
    let escaped = |format: fn(u8) -> String| -> Vec<u8> {
        let one = |b: &u8| if b.is_ascii_alphanumeric() { char::from(*b).to_string() } else { format(*b) };
        part.iter().map(one).collect::<String>().into_bytes()
    };
    all.insert(escaped(|b| format!("%{b:02X}")));
    all.insert(escaped(|b| format!("%{b:02x}")));
    all.insert(escaped(|b| format!("\\u{b:04x}")));
    all.retain(|spelling| spelling.len() >= 16);
    all
}

/// The inner part of a text's base64, whatever stands around it.
fn base64s(text: &[u8]) -> Vec<Vec<u8>> {
    let shifted = (0..3).map(|shift| [&b"xxx"[..shift], text].concat());
    let encoded = shifted.flat_map(|text| [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)]);
    // The characters at both ends depend on the neighbours.
    encoded.filter_map(|text| Some(text.as_bytes().get(4..text.len().checked_sub(4)?)?.to_vec())).collect()
}

struct Search {
    patterns: Vec<Vec<u8>>,
}

impl Search {
    fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self { patterns: secrets.into_iter().flat_map(spellings).collect() }
    }

    /// Whether a secret is in the bytes, or in something gzipped that is in them.
    fn in_bytes(&self, bytes: &[u8]) -> Result<bool> {
        let name = format!("exeat-canary-{:016x}", rand::random::<u64>());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, [bytes, &unzipped(bytes)].concat())?;
        let found = self.in_files(std::slice::from_ref(&file));
        std::fs::remove_file(&file)?;
        Ok(!found?.is_empty())
    }

    /// The files below some folders that hold a secret. grep is faster by far than a debug build, and reads the patterns from a pipe.
    fn in_files(&self, paths: &[PathBuf]) -> Result<String> {
        let mut grep = std::process::Command::new("grep")
            .args(["-raFlf", "-"])
            .args(paths)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut patterns = grep.stdin.take().ok_or_else(|| Failure::new("grep has no input"))?;
        patterns.write_all(&self.patterns.join(&b'\n'))?;
        drop(patterns);
        let output = grep.wait_with_output()?;
        // 1: nothing was found; 2: files that went away meanwhile.
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Everything gzipped that is in the bytes. What follows a stream makes its reader fail after it: what was read by then counts.
fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for (at, _) in bytes.windows(3).enumerate().filter(|(_, start)| *start == [0x1f, 0x8b, 0x08]) {
        let _ = MultiGzDecoder::new(&bytes[at..]).take(16 << 20).read_to_end(&mut text);
        text.push(b'\n');
    }
    text
}

async fn everything_that_objects_say() -> Result<String> {
    let kinds = kubectl(&["api-resources", "--verbs=list", "-o", "name"]).await?.ok()?;
    let kinds: Vec<&str> = kinds.lines().collect();
    kubectl(&["get", &kinds.join(","), "-A", "-o", "yaml", "--show-managed-fields", "--ignore-not-found"]).await?.ok()
}

async fn what_programs_say(ns: &Scope, pods: &[&str]) -> Result<String> {
    let mut all = String::new();
    for component in ["controller", "issuer", "webhook"] {
        all += &system::log(&ns.client, component).await?;
        for pod in system::pods(&ns.client, component).await? {
            all += &system::get(&ns.client, &pod.name_any(), "/metrics").await?;
        }
    }
    for pod in pods {
        all += &ns.log(pod, "exeat-sidecar").await?;
    }
    Ok(all)
}

#[expect(clippy::disallowed_methods, reason = "tests have no flags")]
fn cluster_folders() -> Result<Vec<PathBuf>> {
    let run = std::env::var("EXEAT_RUN_DIR").map_err(|_| Failure::new("EXEAT_RUN_DIR is not set"))?;
    let folders = vec![Path::new(&run).join("etcd"), Path::new(&run).join("logs"), Path::new(&run).join("pod-logs")];
    ensure!(folders.iter().all(|f| f.is_dir()), "{folders:?} must be folders");
    Ok(folders)
}

/// What the two agents hold: (what may be nowhere, what is on the memory volume of the kubectl agent as well).
async fn secrets_of_agents(ns: &Scope) -> Result<(Vec<String>, Vec<String>)> {
    let answer = ns.exec("aws", &["python3", "-c", AWS]).await?.ok()?;
    let (loopback, keys) = answer.split_once('\n').ok_or_else(|| Failure::new("no answer"))?;
    let keys: Value = serde_json::from_str(keys)?;
    let text = |key: &str| keys[key].as_str().map(str::to_owned).ok_or_else(|| Failure::new(format!("no {key}")));
    let bearer = ns.sh("kubectl", "cat /var/run/exeat/kubernetes/token").await?.ok()?;
    let signature = bearer.trim().rsplit('.').next().unwrap_or_default().to_owned();
    Ok((vec![text("SecretAccessKey")?, text("Token")?, loopback.trim().to_owned()], vec![signature]))
}

#[tokio::test]
async fn no_secret_is_anywhere_but_on_the_loopback() -> Result {
    in_namespace("canary", async |ns| {
        let reports = vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])];
        ns.ready(aws_policy("reports", MINISTACK, reports)).await?;
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("aws", "reports")).await?;
        ns.start(agent("kubectl", "pods")).await?;
        let (nowhere, on_volume) = secrets_of_agents(&ns).await?;
        for pod in ["aws", "kubectl"] {
            let session = ns.session(pod, 1, Phase::Active, 10).await?;
            ns.event(&session.uid().unwrap_or_default(), "CredentialsIssued").await?;
        }
        let secrets = || nowhere.iter().chain(&on_volume).map(String::as_str);
        assert!(secrets().all(|s| s.len() >= 32), "a secret is long");
        let search = Search::new(secrets());

        assert!(!search.in_bytes(everything_that_objects_say().await?.as_bytes())?, "an object holds a secret");
        let said = what_programs_say(&ns, &["aws", "kubectl"]).await?;
        assert!(!search.in_bytes(said.as_bytes())?, "a log or a metric holds a secret");
        let files = search.in_files(&cluster_folders()?)?;
        assert!(files.is_empty(), "a secret is in {files}");
        let readable = ns.sh("aws", READABLE).await?.stdout;
        assert!(readable.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"), "{readable}");
        assert!(!search.in_bytes(readable.as_bytes())?, "a file, variable or argument of the agent holds a secret");
        let readable = ns.sh("kubectl", READABLE).await?.stdout;
        assert!(!Search::new(nowhere.iter().map(String::as_str)).in_bytes(readable.as_bytes())?);
        the_search_finds_what_is_there(&ns).await
    })
    .await
}

/// A search that finds nothing must be able to.
async fn the_search_finds_what_is_there(ns: &Scope) -> Result {
    let planted = "planted/4f1c+0bd27a39e58c6d1f02b7a4~e93c58d1076ab2f4";
    let search = Search::new([planted]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(format!("before {planted} after").as_bytes())?;
    let gzip = gzip.finish()?;
    for (what, bytes) in [
        ("raw", planted.as_bytes().to_vec()),
        ("gzip", [b"before".as_slice(), &gzip, b"after"].concat()),
        ("hex", planted.bytes().map(|b| format!("{b:02x}")).collect::<String>().into_bytes()),
        ("url", planted.replace('/', "%2F").replace('+', "%2B").replace('~', "%7E").into_bytes()),
        ("base64", STANDARD_NO_PAD.encode(format!("user:{planted}:x")).into_bytes()),
        ("base64 of base64", STANDARD_NO_PAD.encode(STANDARD_NO_PAD.encode(planted)).into_bytes()),
        ("base64url", URL_SAFE_NO_PAD.encode(format!("ab{planted}")).into_bytes()),
    ] {
        assert!(search.in_bytes(&bytes)?, "{what} is not found");
    }
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "planted"}, "data": {"key": planted}}))?;
    ns.create(&map).await?;
    wait_for("the planted secret is found in etcd's files", 30, async || {
        let found = search.in_files(&cluster_folders()?)?;
        ensure!(found.contains("/etcd/"), "found in {found:?}");
        Ok(())
    })
    .await?;
    assert!(search.in_bytes(everything_that_objects_say().await?.as_bytes())?);
    Ok(())
}
