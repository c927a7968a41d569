//! `policy lint`, `diff` and `test`.

use super::{Folder, said};

const PROVIDER: &str = "
apiVersion: exeat.dev/v1alpha1
kind: CredentialProvider
metadata: {name: in-cluster}
spec:
  kubernetes: {}
  bindings:
    - name: agents
      namespaces: [agents]
      principals: ['system:serviceaccounts:exeat-grants']
      maxActions: ['get pods', 'list pods', 'get pods/log']
      deny: ['get pods/log']
";

const POLICY: &str = "
apiVersion: exeat.dev/v1alpha1
kind: AgentCredentialPolicy
metadata: {name: pod-reader, namespace: agents}
spec:
  providerRef: {name: in-cluster}
  principal: system:serviceaccounts:exeat-grants
  subjects: {serviceAccounts: [report-agent]}
  allow:
    - {actions: ['get pods', 'list pods'], resources: ['agents/*']}
";

#[test]
fn a_policy_is_checked_alone_and_against_its_provider() {
    let folder = Folder::new("lint");
    let (policy, provider) = (folder.file("policy.yaml", POLICY), folder.file("provider.yaml", PROVIDER));
    let (code, out, _) = said(&["policy", "lint", &policy]);
    assert!(code == 0 && out.starts_with("ok  AgentCredentialPolicy/pod-reader"), "{out}");
    assert_eq!(said(&["policy", "lint", "--provider", &provider, &policy]).0, 0);

    let bad = folder.file(
        "bad.yaml",
        &format!("{POLICY}\n---\n{PROVIDER}")
            .replace("'list pods'], res", "'list pods', 'delete pods'], efect: Allow, res"),
    );
    let (code, out, _) = said(&["policy", "lint", &bad]);
    let faults = ["FieldUnknown: spec.allow[0].efect: there is no such field; there are actions, resources"];
    assert!(code == 1 && faults.iter().all(|fault| out.contains(fault)), "{out}");
    let (code, out, _) = said(&["policy", "lint", "-o", "json", &bad]);
    let reports: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(code == 1 && reports[0]["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{reports}");
    let wide = folder.file("wide.yaml", &POLICY.replace("'list pods'", "'delete pods'"));
    let (code, out, _) = said(&["policy", "lint", "--provider", &provider, &wide]);
    assert!(code == 1 && out.contains("ActionNotAllowed: spec.allow[0].actions[1]"), "{out}");
    let rough = folder.file(
        "rough.yaml",
        &POLICY.replace(
            "  principal: system:serviceaccounts:exeat-grants\n",
            "  session: {duration: 200h, onExpiry: Never}\n",
        ),
    );
    let (code, out, _) = said(&["policy", "lint", &rough]);
    for fault in [
        "FieldMissing: spec.principal: it is missing",
        "FieldInvalid: spec.session.onExpiry: \"Never\" is none of its values; write one of Renew, Stop",
    ] {
        assert!(code == 1 && out.contains(fault), "{fault}: {out}");
    }
    let two =
        folder.file("two.yaml", &PROVIDER.replace("kubernetes: {}", "kubernetes: {}\n  aws: {region: eu-west-1}"));
    let (code, out, _) = said(&["policy", "lint", &two]);
    assert!(code == 1 && out.contains("FieldInvalid: spec: "), "{out}");
    let (code, _, err) = said(&["policy", "lint", "--server", &policy]);
    assert!(code == 1 && err.contains("the cluster can't be reached"), "{err}");
    let (code, _, err) = said(&["policy", "lint", "/nonexistent.yaml"]);
    assert!(code == 2 && err.contains("/nonexistent.yaml"), "{err}");
}

#[test]
fn a_change_is_told_by_what_it_allows() {
    let folder = Folder::new("diff");
    let old = folder.file("old.yaml", POLICY);
    let wider =
        folder.file("wider.yaml", &POLICY.replace("resources: ['agents/*']", "resources: ['agents/*', 'other/*']"));
    let (code, out, _) = said(&["policy", "diff", &old, &wider]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    assert!(out.contains("+ wider     newly allowed: get pods on other/*"), "{out}");
    assert_eq!(said(&["policy", "diff", "--fail-if-wider", &old, &wider]).0, 3);
    let (code, out, _) = said(&["policy", "diff", "--fail-if-wider", &wider, &old]);
    assert!(code == 0 && out.contains("- narrower  no longer allowed: list pods on other/*"), "{out}");
    let (code, out, _) = said(&["policy", "diff", "--fail-if-wider", &old, &old]);
    assert!(code == 0 && out == "Both allow the same.\n", "{out}");
    let (_, out, _) = said(&["--color", "always", "policy", "diff", &old, &wider]);
    assert!(out.contains("\u{1b}[31m+ wider"), "{out:?}");
    assert!(!said(&["policy", "diff", &old, &wider]).1.contains('\u{1b}'), "this is no terminal");
}

/// Every kind of provider: what its sample allows is taken as it is, widened, and narrowed.
#[test]
fn a_change_of_every_sample_is_told() {
    let folder = Folder::new("diff-samples");
    let samples = format!("{}/../config/samples", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(&samples).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_prefix("policy-") else { continue };
        seen += 1;
        let (old, provider) = (format!("{samples}/{file}"), format!("{samples}/provider-{name}"));
        let text = std::fs::read_to_string(&old).unwrap();
        let more_accounts = folder.file(&file, &text.replace("serviceAccounts: [", "serviceAccounts: [another, "));
        for more in [&[][..], &["--provider", &provider]] {
            let diff = |from: &str, to: &str| said(&[&["policy", "diff", "--fail-if-wider", from, to], more].concat());
            assert_eq!(diff(&old, &old), (0, "Both allow the same.\n".to_owned(), String::new()), "{file} {more:?}");
            let (code, out, err) = diff(&old, &more_accounts);
            let told = "+ wider     newly covered service account: another\n";
            assert_eq!((code, out.as_str(), err.as_str()), (3, told, ""), "{file} {more:?}");
        }
    }
    assert!(seen >= 6, "{seen} samples");
    for (file, from, to, told) in [
        ("vault", "secret/data/reports/*", "secret/data/*", "+ wider     newly allowed: read on secret/data/*"),
        (
            "azure",
            "blobs/read]",
            "blobs/read, Microsoft.Storage/x/write]",
            "newly allowed: Microsoft.Storage/x/write on",
        ),
        (
            "gcp",
            "objects/2026/*",
            "objects/*",
            "newly allowed: storage.objects.get on projects/_/buckets/reports/objects/*",
        ),
    ] {
        let old = format!("{samples}/policy-{file}.yaml");
        let wider = folder.file("wider.yaml", &std::fs::read_to_string(&old).unwrap().replace(from, to));
        let (code, out, err) = said(&["policy", "diff", "--fail-if-wider", &old, &wider]);
        assert!(code == 3 && out.contains(told) && !out.contains("no longer"), "{file}: {code} {out}{err}");
        let (code, out, _) = said(&["policy", "diff", "--fail-if-wider", &wider, &old]);
        assert!(code == 0 && out.contains("- narrower") && !out.contains("+ wider"), "{file}: {code} {out}");
    }
}

#[test]
fn a_call_is_tried_without_a_cluster() {
    let folder = Folder::new("test");
    let (policy, provider) = (folder.file("policy.yaml", POLICY), folder.file("provider.yaml", PROVIDER));
    let call = |action: &str, resource: &str, more: &[&str]| {
        let base = ["policy", "test", &policy, "--provider", &provider, "--action", action, "--resource", resource];
        said(&[&base, more].concat())
    };
    let (code, out, _) = call("get pods", "agents/a", &["--service-account", "report-agent"]);
    assert!(code == 0 && out.starts_with("allowed: spec.allow of the policy, statement 0"), "{out}");
    for (action, resource, more, word) in [
        ("get pods", "other/a", &[][..], "fix: add \"other/a\" to spec.allow[0].resources"),
        ("delete pods", "agents/a", &[], "outside of maxActions"),
        ("get pods/log", "agents/a", &[], "denial always wins"),
        ("get pods", "agents/a", &["--service-account", "other"], "PodNotCovered"),
        ("list pods", "agents/", &["--narrowing", "get pods on agents/*"], "asks for less"),
    ] {
        let (code, out, err) = call(action, resource, more);
        assert!(code == 3 && out.starts_with("not allowed: ") && out.contains(word), "{word}: {code} {out} {err}");
    }
    let selecting =
        POLICY.replace("[report-agent]}", "[report-agent], podSelector: {matchLabels: {app: reports, tier: batch}}}");
    let selecting = folder.file("selecting.yaml", &selecting);
    let of_pod = |more: &[&str]| {
        let base =
            ["policy", "test", &selecting, "--provider", &provider, "--action", "get pods", "--resource", "agents/a"];
        said(&[&base[..], more].concat())
    };
    let account = ["--service-account", "report-agent"];
    assert_eq!(of_pod(&[&account[..], &["--labels", "app=reports,tier=batch"]].concat()).0, 0);
    let (code, out, _) = of_pod(&account);
    assert!(
        code == 3 && out.contains("PodNotCovered") && out.contains("fix: say which labels the pod has: --labels"),
        "{out}"
    );
    let (code, out, _) = of_pod(&[&account[..], &["--labels", "app=reports"]].concat());
    assert!(code == 3 && out.contains("PodNotCovered") && !out.contains("--labels"), "{out}");
    for wrong in [&["--labels", "app=reports"][..], &[&account[..], &["--labels", "app"]].concat()] {
        assert_eq!(of_pod(wrong).0, 2, "{wrong:?}");
    }
    let (code, _, err) = call("pods", "agents/a", &[]);
    assert!(code == 2 && err.contains("--action"), "{err}");
    let nameless = folder.file("nameless.yaml", &POLICY.replace(", namespace: agents", ""));
    let base = ["policy", "test", &nameless, "--provider", &provider, "--action", "get pods", "--resource", "agents/a"];
    assert!(said(&base).2.contains("give --namespace"));
    assert_eq!(said(&[&base[..], &["-n", "agents"]].concat()).0, 0);
}

#[test]
fn the_samples_are_as_they_should_be_and_say_whom_they_ask() {
    let sample = |name: &str| format!("{}/../config/samples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    for name in ["aws", "kubernetes", "approvals"] {
        let (policy, provider) = (sample(&format!("policy-{name}")), sample(&format!("provider-{name}")));
        let (code, out, err) = said(&["policy", "lint", &policy, &provider, "--provider", &provider]);
        assert!(code == 0 && out.lines().filter(|line| line.starts_with("ok ")).count() == 2, "{name}: {out}{err}");
    }
    let (policy, provider) = (sample("policy-approvals"), sample("provider-approvals"));
    let base =
        ["policy", "test", &policy, "--provider", &provider, "--action", "delete pods", "--resource", "agents/a"];
    let (code, out, _) = said(&base);
    assert!(code == 0 && out.contains("people must approve the grant: rule provider/deletes: 1 of security"), "{out}");
}
