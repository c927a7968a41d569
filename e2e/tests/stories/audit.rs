//! The audit log of a cluster, verified as its owner does, and tampered with as somebody else would.

use exeat_crds::names::{self, DEFAULT_AUDIENCE};
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{
    Failure, Issuer, Output, Result, Scope, agent, ensure, in_namespace, kubernetes_policy, shell, system,
    system_namespace, wait_for,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, LogParams};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A key as sidecars write it, of nobody.
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// What a chain must have to be tampered with in its middle.
const LEAST: usize = 4;

/// A log, and what is needed to verify it, in a folder of its own.
struct Evidence {
    folder: PathBuf,
    lines: Vec<String>,
    heads: BTreeMap<String, Value>,
}

/// Place of a record: the line, and the number in its chain.
type Places = Vec<(usize, u64)>;

impl Evidence {
    /// As docs/audit.md says: keys, then heads, then the logs of the programs that run.
    async fn collect(ns: &Scope) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("exeat-audit-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder)?;
        let secrets: Api<Secret> = Api::namespaced(ns.client.clone(), system_namespace());
        for program in ["controller", "issuer"] {
            let data = secrets.get(&names::audit_key_secret(program)).await?.data.unwrap_or_default();
            let key = data.get("key").ok_or_else(|| Failure::new("there is no key"))?;
            std::fs::write(folder.join(program), &key.0)?;
        }
        let mut pods = system::pods(&ns.client, "controller").await?;
        pods.extend(system::pods(&ns.client, "issuer").await?);
        let maps: Api<ConfigMap> = Api::namespaced(ns.client.clone(), system_namespace());
        let mut map = maps.get(names::AUDIT_HEADS_CONFIG_MAP).await?;
        // Logs of pods that are gone are gone with them here.
        let lives = |name: &str| pods.iter().any(|pod| name.starts_with(&format!("{}.", pod.name_any())));
        map.data.get_or_insert_default().retain(|name, _| lives(name));
        let mut heads = BTreeMap::new();
        for (name, head) in map.data.iter().flatten() {
            heads.insert(name.clone(), serde_json::from_str(head)?);
        }
        let document = serde_json::json!({"kind": "ConfigMap", "data": map.data});
        std::fs::write(folder.join("heads"), document.to_string())?;
        let mut lines = Vec::new();
        for pod in &pods {
            lines.extend(log(ns, pod).await?.lines().map(str::to_owned));
        }
        Ok(Self { folder, lines, heads })
    }

    /// Where the records of a writer stand.
    fn chain(&self, writer: &str) -> Places {
        let place = |(at, line): (usize, &String)| {
            let record: Value = serde_json::from_str(line).ok()?;
            (record["audit"].is_string() && record["writer"] == writer)
                .then(|| Some((at, record["sequence"].as_u64()?)))?
        };
        self.lines.iter().enumerate().filter_map(place).collect()
    }

    /// The number of the last record of a writer that is anchored.
    fn head(&self, writer: &str) -> Option<u64> {
        let mut heads = self.heads.iter().filter(|(name, _)| name.starts_with(&format!("{writer}.")));
        heads.next()?.1["sequence"].as_u64()
    }

    async fn verify(&self, lines: &[String], keys: [&str; 2]) -> Result<Output> {
        std::fs::write(self.folder.join("log"), lines.join("\n") + "\n")?;
        let [controller, issuer] = keys;
        shell(&format!(
            "cd {} && {} verify-audit --key-file controller={controller} --key-file issuer={issuer} --heads heads log",
            self.folder.display(),
            program()?.display()
        ))
        .await
    }

    /// The codes that are found in a log that was tampered with.
    async fn found(&self, lines: &[String]) -> Result<BTreeSet<String>> {
        let output = self.verify(lines, ["controller", "issuer"]).await?;
        ensure!(output.code == 1, "{output}");
        let findings = output.stdout.lines().take_while(|line| !line.starts_with("chain "));
        Ok(findings.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Built beside the tests.
fn program() -> Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let folder = tests.parent().and_then(Path::parent).ok_or_else(|| Failure::new("the tests are nowhere"))?;
    let program = folder.join("exeat-controller");
    ensure!(program.is_file(), "{} is not built", program.display());
    Ok(program)
}

async fn log(ns: &Scope, pod: &Pod) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(ns.client.clone(), system_namespace());
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let mut log = String::new();
    if statuses.map(|s| s.restart_count).sum::<i32>() > 0 {
        log += &pods.logs(&pod.name_any(), &LogParams { previous: true, ..LogParams::default() }).await?;
    }
    Ok(log + &pods.logs(&pod.name_any(), &LogParams::default()).await?)
}

/// Has every program record something: a session comes and goes, and each issuer refuses a second sidecar.
async fn happenings(ns: &Scope) -> Result {
    ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
    let pod = ns.start(agent("agent", "pods")).await?;
    let session = ns.session("agent", 1, Phase::Active, 10).await?;
    ns.event(&session.uid().unwrap_or_default(), "CredentialsIssued").await?;
    let token = ns.token(Some(&pod), DEFAULT_AUDIENCE).await?;
    let issuers = Issuer::all(&ns.client).await?;
    ensure!(issuers.len() == 2, "{} issuers are ready", issuers.len());
    for issuer in issuers {
        let answer = issuer.credential(&token, Some(KEY)).await?;
        ensure!(answer.code() == "HolderConflict", "{answer:?}");
    }
    ns.revoke(&session, "for the record").await?;
    ns.session("agent", 1, Phase::Revoked, 20).await?;
    Ok(())
}

#[tokio::test]
async fn the_logs_of_a_cluster_verify_and_each_kind_of_tampering_is_found() -> Result {
    in_namespace("audit", async |ns| {
        happenings(&ns).await?;
        let writers: Vec<_> = system::pods(&ns.client, "issuer").await?.iter().map(ResourceExt::name_any).collect();
        let evidence = wait_for("each issuer has a chain with a head", 30, async || {
            let evidence = Evidence::collect(&ns).await?;
            for writer in &writers {
                ensure!(!evidence.chain(writer).is_empty() && evidence.head(writer).is_some(), "{writer} has none");
            }
            let longest = writers.iter().map(|w| evidence.head(w).unwrap_or_default()).max();
            ensure!(longest.is_some_and(|n| n >= LEAST as u64), "the longest chain ends at {longest:?}");
            Ok(evidence)
        })
        .await?;

        let clean = evidence.verify(&evidence.lines, ["controller", "issuer"]).await?.ok()?;
        println!("{}", clean.trim_end());
        for writer in &writers {
            let own = clean
                .lines()
                .filter(|line| line.starts_with("chain program=\"issuer\"") && line.contains(writer.as_str()));
            ensure!(own.count() >= 1, "replica {writer} has no chain of its own: {clean}");
        }
        ensure!(clean.contains("chain program=\"controller\""), "the controller has none: {clean}");
        each_is_found(&evidence, &writers).await?;
        let swapped = evidence.verify(&evidence.lines, ["issuer", "controller"]).await?.failed()?;
        ensure!(swapped.contains("KeyUnknown"), "one program's key proved the other's records: {swapped}");
        Ok(())
    })
    .await
}

/// Tampers with the longest chain of an issuer, in one way at a time.
async fn each_is_found(evidence: &Evidence, writers: &[String]) -> Result {
    let writer = writers.iter().max_by_key(|w| evidence.head(w)).ok_or_else(|| Failure::new("no issuer"))?;
    let (places, head) = (evidence.chain(writer), evidence.head(writer).unwrap_or_default());
    ensure!(places.len() >= LEAST, "{} records", places.len());
    let (first, second) = (places[1].0, places[2].0);
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = evidence.lines.clone();
        change(&mut lines);
        lines
    };
    // From the back, so that places stay what they are.
    let without = |gone: &dyn Fn(u64) -> bool| {
        with(&|lines| places.iter().rev().filter(|(_, n)| gone(*n)).for_each(|(at, _)| drop(lines.remove(*at))))
    };
    let mut record: Value = serde_json::from_str(&evidence.lines[first])?;
    record["message"] = "nothing has happened".into();
    for (what, lines, code) in [
        ("one record changed", with(&|lines| lines[first] = record.to_string()), "Changed"),
        ("one record removed", without(&|n| n == places[1].1), "Missing"),
        ("two records swapped", with(&|lines| lines.swap(first, second)), "Reordered"),
        ("one record twice", with(&|lines| lines.insert(second, evidence.lines[first].clone())), "Duplicated"),
        ("the tail cut off", without(&|n| n >= head), "Truncated"),
        ("the whole chain removed", without(&|_| true), "Truncated"),
    ] {
        let found = evidence.found(&lines).await?;
        ensure!(found == BTreeSet::from([code.to_owned()]), "{what}: {found:?}");
    }
    Ok(())
}
