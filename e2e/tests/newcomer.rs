//! The README's quick start, word for word, where nothing is installed: from `helm install` to a call that is allowed and one that is denied and
//! explained; then the stop, and leaving. In a binary of its own that runs last, after "uninstall".

use exeat_e2e::readme::blocks;
use exeat_e2e::{Failure, Output, ROOT, Result, ensure, is_for_tests, kubectl, shell, shell_within, wait_for};
use std::time::{Duration, Instant};

/// Most commands from `helm install` to the explanation.
const COMMANDS: usize = 7;
/// Most lines in the files that they apply, without comments and empty lines.
const YAML_LINES: usize = 40;
/// Most time for all of it.
const DEADLINE: Duration = Duration::from_secs(600);

/// What the README says before one begins: our images are loaded. Here they have the tests' tag.
const IMAGES: &str = r#"
set -e
version=$(helm show chart charts/exeat | sed -n 's/^appVersion: //p')
for image in operator webhook sidecar; do
  ctr -a "$EXEAT_RUN_DIR/containerd.sock" -n k8s.io images tag --force \
    "docker.io/exeat/$image:${EXEAT_IMAGE_TAG:-dev}" "docker.io/exeat/$image:$version"
done"#;

/// The files that a command applies.
fn applied(command: &str) -> impl Iterator<Item = &str> {
    let command = command.split(" #").next().unwrap_or_default();
    command.split(" -f ").skip(1).map(str::trim)
}

fn yaml_lines(commands: &[&String]) -> Result<usize> {
    let mut lines = 0;
    for file in commands.iter().flat_map(|command| applied(command)) {
        let text =
            std::fs::read_to_string(format!("{ROOT}/{file}")).map_err(|e| Failure::new(format!("{file}: {e}")))?;
        lines += text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    }
    Ok(lines)
}

fn says(command: &str, output: &Output, words: &[&str]) -> Result {
    let missing: Vec<_> =
        words.iter().filter(|w| !output.stdout.contains(**w) && !output.stderr.contains(**w)).collect();
    ensure!(missing.is_empty(), "{command}: {missing:?} is not said: {output}");
    Ok(())
}

async fn leave(block: &[String]) -> Result<Vec<Output>> {
    let mut told = Vec::new();
    for command in block {
        told.push(shell_within(DEADLINE, command).await?);
    }
    Ok(told)
}

#[tokio::test]
async fn from_nothing_to_an_explained_denial_in_seven_commands() -> Result {
    is_for_tests()?;
    let blocks = blocks("README.md", "## Quick start on a cluster of yours")?;
    // Those of AWS and Vault need a backend: "stories" runs them.
    let [start, look, stop, _aws, _vault, leaving, ..] = &blocks[..] else {
        return Err(Failure::new(format!("the quick start has {} blocks", blocks.len())));
    };
    let all: Vec<&String> = start.iter().chain(look).collect();
    assert!(all.len() <= COMMANDS, "{} commands: {all:#?}", all.len());
    assert!(
        all[0].starts_with("helm install ") && all[all.len() - 1].starts_with("kubectl exeat explain "),
        "{all:#?}"
    );
    let lines = yaml_lines(&all)?;
    assert!((20..=YAML_LINES).contains(&lines), "{lines} lines of YAML");

    leave(leaving).await?; // whatever stood here before; kubectl does not wait for the end of one where it has not found another
    wait_for("nothing is left of what stood here before", 120, nothing_is_left).await?;
    shell(IMAGES).await?.ok()?;
    let began = Instant::now();
    let script = async {
        for command in start {
            shell_within(DEADLINE, command).await?.ok()?;
        }
        explained(look).await
    };
    let outcome = tokio::time::timeout(DEADLINE, script).await;
    let outcome = match outcome.unwrap_or_else(|_| Err(Failure::new(format!("it takes more than {DEADLINE:?}")))) {
        Ok(()) => stopped(stop).await,
        failed => failed,
    };
    println!("{} commands, {lines} lines of YAML, {} s", all.len(), began.elapsed().as_secs());
    if outcome.is_err() {
        let seen = shell("kubectl get pods -A; kubectl -n agents describe pods; kubectl get cprov,acp,cses -A -o yaml")
            .await?;
        eprintln!("{seen}");
    }
    let left = leave(leaving).await?;
    outcome?;
    for output in left {
        output.ok()?;
    }
    nothing_is_left().await
}

async fn explained(look: &[String]) -> Result {
    let [allowed, denied, explain] = look else {
        return Err(Failure::new(format!("an allowed, a denied and an explained call, but: {look:?}")));
    };
    says(allowed, &shell(allowed).await?, &["pod-agent"])?;
    let refusal = shell(denied).await?;
    says(denied, &refusal, &["Error from server (Forbidden): secrets"])?;
    refusal.failed()?;
    let told = shell(explain).await?;
    ensure!(told.code == 3, "a gate says no: {told}");
    says(explain, &told, &["FAIL  call", "maxActions", "fix:", "spec.allow of the policy", "One gate is closed: call."])
}

async fn stopped(stop: &[String]) -> Result {
    let [sessions, revoke, refused] = stop else {
        return Err(Failure::new(format!("who holds what, the stop, and a refusal, but: {stop:?}")));
    };
    says(sessions, &shell(sessions).await?, &["pod-reader", "Active"])?;
    let done = shell(revoke).await?;
    says(revoke, &done, &["1 sessions revoked", "Immediate: access ends by"])?;
    done.ok()?;
    wait_for("kubectl tells why", 15, async || {
        let said = shell(refused).await?.failed()?;
        ensure!(said.contains("SessionRevoked") && said.contains("looks odd"), "{said}");
        Ok(())
    })
    .await
}

async fn nothing_is_left() -> Result {
    let kinds = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations,\
                 validatingadmissionpolicies,validatingadmissionpolicybindings";
    let ours = kubectl(&["get", kinds, "-l", "app.kubernetes.io/name=exeat", "-o", "name"]).await?.ok()?;
    let all = kubectl(&["get", "namespaces,customresourcedefinitions", "-o", "name"]).await?.ok()?;
    let is_ours = |name: &&str| name.ends_with(".exeat.dev") || name.contains("/exeat-") || name.ends_with("/agents");
    let left: Vec<&str> = ours.lines().chain(all.lines().filter(is_ours)).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
