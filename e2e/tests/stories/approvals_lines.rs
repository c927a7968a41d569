//! The lines of docs/approvals.md, as approvers run them.

use exeat_crds::Approval;
use exeat_crds::v1alpha1::Verdict;
use exeat_e2e::approvals::Actor;
use exeat_e2e::{Failure, Output, ROOT, Result, Scope, ensure, in_namespace, kubectl, shell};
use serde_json::{Value, json};

/// The shell blocks of docs/approvals.md from a heading on.
fn documented() -> Result<Vec<String>> {
    let page = std::fs::read_to_string(format!("{ROOT}/docs/approvals.md"))?;
    let section = page.split("\n## ").find(|s| s.starts_with("Deciding with kubectl")).unwrap_or_default();
    let blocks: Vec<String> =
        section.split("```bash\n").skip(1).filter_map(|block| Some(block.split_once("```")?.0.to_owned())).collect();
    ensure!(blocks.len() == 5, "{} blocks", blocks.len());
    Ok(blocks)
}

/// A shell in which kubectl acts as one person.
struct Desk<'a> {
    ns: &'a Scope,
    config: String,
    names: String,
}

impl<'a> Desk<'a> {
    async fn of(ns: &'a Scope, actor: &Actor, name: &str, names: &str) -> Result<Self> {
        let view = kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]).await?.ok()?;
        let mut config: Value = serde_json::from_str(&view)?;
        for user in config["users"].as_array_mut().into_iter().flatten() {
            user["user"]["as"] = json!(actor.user);
            user["user"]["as-groups"] = json!([&actor.groups[..], &["system:authenticated".to_owned()]].concat());
        }
        let path = std::env::temp_dir().join(format!("{}-{}.json", ns.name, actor.user));
        std::fs::write(&path, config.to_string())?;
        let names = names.replace("namespace=agents name=NAME", &format!("namespace={} name={name}", ns.name));
        ensure!(names.contains(&ns.name), "the first block does not name the approval: {names}");
        Ok(Self { ns, config: path.display().to_string(), names })
    }

    async fn run(&self, block: &str) -> Result<Output> {
        shell(&format!("set -euo pipefail; export KUBECONFIG={}; {}\n{block}", self.config, self.names)).await
    }

    async fn said(&self, name: &str) -> Result<Vec<(String, Verdict)>> {
        let decisions = self.ns.api::<Approval>().get(name).await?.spec.decisions;
        Ok(decisions.into_iter().map(|d| (d.approver, d.decision)).collect())
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

#[tokio::test]
async fn the_documented_lines_decide_and_lose_nobodys_word() -> Result {
    use Verdict::{Approve, Deny};
    in_namespace("lines", async |ns| {
        let blocks = documented()?;
        let [names, apply, add, withdraw, replace] = &blocks[..] else { return Err(Failure::new("five blocks")) };
        let said =
            |list: &[(&str, Verdict)]| list.iter().map(|(who, word)| ((*who).to_owned(), *word)).collect::<Vec<_>>();
        for name in ["applied", "mixed"] {
            ns.asked(name, json!([])).await?;
        }
        let (ann, ben) = (ns.approver("ann", &["security"]).await?, ns.approver("ben@example.com", &["data"]).await?);
        let desk = async |actor: &Actor, name: &str| Desk::of(&ns, actor, name, names).await;
        let (one, two) = (desk(&ann, "applied").await?, desk(&ben, "applied").await?);

        one.run(apply).await?.ok()?;
        two.run(apply).await?.ok()?;
        let both = said(&[("ann", Approve), ("ben@example.com", Approve)]);
        assert_eq!(one.said("applied").await?, both);

        // Again: nothing changes, not even the time.
        let before = ns.api::<Approval>().get("applied").await?.spec;
        one.run(apply).await?.ok()?;
        assert_eq!(ns.api::<Approval>().get("applied").await?.spec, before);

        one.run(withdraw).await?.ok()?;
        assert_eq!(one.said("applied").await?, said(&[("ann", Deny), ("ben@example.com", Approve)]));
        let refusal = one.run(apply).await?.failed()?;
        ensure!(refusal.contains("can only change from Approve to Deny"), "{refusal}");

        let (one, two) = (desk(&ann, "mixed").await?, desk(&ben, "mixed").await?);
        one.run(apply).await?.ok()?;
        two.run(add).await?.ok()?;
        assert_eq!(one.said("mixed").await?, both);
        two.run(replace).await?.ok()?;
        assert_eq!(one.said("mixed").await?, said(&[("ann", Approve), ("ben@example.com", Deny)]));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_default_field_manager_loses_nobodys_word() -> Result {
    in_namespace("default-manager", async |ns| {
        let blocks = documented()?;
        let [names, apply, ..] = &blocks[..] else { return Err(Failure::new("blocks")) };
        ns.asked("asked", json!([])).await?;
        let (ann, ben) = (ns.approver("ann", &["security"]).await?, ns.approver("ben", &["data"]).await?);
        let forgetful = apply.replace("--field-manager=\"$me\" ", "");
        let (one, two) = (Desk::of(&ns, &ann, "asked", names).await?, Desk::of(&ns, &ben, "asked", names).await?);
        one.run(&forgetful).await?.ok()?;
        let refusal = two.run(&forgetful).await?.failed()?;
        ensure!(
            refusal.contains("\"ann\" would be taken away") && refusal.contains("--field-manager=$USER"),
            "{refusal}"
        );
        assert_eq!(one.said("asked").await?, [("ann".to_owned(), Verdict::Approve)]);
        Ok(())
    })
    .await
}
