//! Who is believed to be a pod's sidecar: the issuer, attacked from outside with tokens that the API server really made.

use exeat_crds::names::DEFAULT_AUDIENCE;
use exeat_crds::v1alpha1::{Holder, Phase};
use exeat_e2e::{
    Answer, Failure, Issuer, Result, Scope, agent, ensure, holds_for, in_namespace, kubernetes_policy, script, wait_for,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

/// Keys as sidecars write them, of nobody.
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// A pod whose sidecar holds a credential.
async fn started(ns: &Scope, name: &str) -> Result<Pod> {
    let pod = ns.start(agent(name, "pods")).await?;
    bound(ns, &pod).await?;
    Ok(pod)
}

/// The sidecar that a pod's first session names.
async fn bound(ns: &Scope, pod: &Pod) -> Result<Holder> {
    wait_for("the sidecar's key is bound", 20, async || {
        let sessions = ns.sessions(&pod.name_any()).await?;
        let ours = |uid: &str| Some(uid) == pod.uid().as_deref();
        let first = sessions.into_iter().find(|s| ours(&s.spec.request.agent.pod.uid));
        let issuance = first.and_then(|s| s.status).and_then(|s| s.issuance);
        issuance.and_then(|i| i.holder).ok_or_else(|| Failure::new("none is"))
    })
    .await
}

fn is_refused(what: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{what}: {answer:?}");
    assert!(answer.body.get("credential").is_none(), "{what}: a credential left");
}

#[tokio::test]
async fn a_token_that_an_editor_makes_for_a_living_pod_gets_nothing_and_is_seen() -> Result {
    in_namespace("second-key", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let pod = started(&ns, "agent").await?;
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        let genuine = bound(&ns, &pod).await?;
        let issuer = Issuer::find(&ns.client).await?;
        let token = ns.token(Some(&pod), DEFAULT_AUDIENCE).await?;

        for (what, key) in
            [("no key", None), ("short", Some(&KEY[1..])), ("not hexadecimal", Some(&*KEY.replace('0', "x")))]
        {
            is_refused(what, &issuer.credential(&token, key).await?, 403, "HolderKeyInvalid");
            is_refused(what, &issuer.stream(&token, key).await?, 403, "HolderKeyInvalid");
        }
        for key in [KEY, KEY, OTHER] {
            for answer in [issuer.credential(&token, Some(key)).await?, issuer.stream(&token, Some(key)).await?] {
                is_refused("a second key", &answer, 503, "HolderConflict");
                assert_eq!((answer.retry_after.as_deref(), &answer.body["retryable"]), (Some("2"), &json!(true)));
            }
        }
        for uid in [pod.uid(), session.uid()] {
            let note = ns.event(&uid.unwrap_or_default(), "HolderConflict").await?;
            assert!(note.contains(&genuine.key[..12]) && !note.contains(KEY), "{note}");
        }
        holds_for("the genuine sidecar goes on", 5, async || {
            ns.sh("agent", "kubectl get pods").await?.ok()?;
            ensure!(bound(&ns, &pod).await? == genuine, "another key was bound");
            Ok(())
        })
        .await?;
        let log = ns.log("agent", "exeat-sidecar").await?;
        assert!(!log.contains("HolderConflict"), "the genuine sidecar was refused: {log}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_no_token_of_a_pod_for_us_is_not_believed() -> Result {
    in_namespace("audience", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let pod = started(&ns, "agent").await?;
        let issuer = Issuer::find(&ns.client).await?;
        for (what, token) in [
            ("another audience", ns.token(Some(&pod), "https://kubernetes.default.svc").await?),
            ("another installation's audience", ns.token(Some(&pod), "other.exeat.dev").await?),
            ("a token that is bound to no pod", ns.token(None, DEFAULT_AUDIENCE).await?),
            ("no token at all", "x.y.z".to_owned()),
        ] {
            is_refused(what, &issuer.credential(&token, Some(KEY)).await?, 401, "TokenInvalid");
            is_refused(what, &issuer.stream(&token, Some(KEY)).await?, 401, "TokenInvalid");
        }
        let token = ns.token(Some(&pod), DEFAULT_AUDIENCE).await?;
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| Failure::new("no JWT"))?;
        let other = ns.token(Some(&pod), "other.exeat.dev").await?;
        let (_, foreign) = other.rsplit_once('.').ok_or_else(|| Failure::new("no JWT"))?;
        assert_ne!(signature, foreign);
        let forged = issuer.credential(&format!("{signed}.{foreign}"), Some(KEY)).await?;
        is_refused("another token's signature", &forged, 401, "TokenInvalid");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_token_serves_its_own_pod_only() -> Result {
    in_namespace("own-pod", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let issuer = Issuer::find(&ns.client).await?;
        started(&ns, "one").await?;
        let two = started(&ns, "two").await?;
        let mut plain = agent("plain", "x");
        plain.metadata.annotations = None;
        let plain = ns.start(plain).await?;

        let answer = issuer.credential(&ns.token(Some(&two), DEFAULT_AUDIENCE).await?, Some(KEY)).await?;
        is_refused("the token of two", &answer, 503, "HolderConflict");
        let session = ns.session("two", 1, Phase::Active, 5).await?.name_any();
        assert_eq!(answer.body["session"], session, "it is two's session that it speaks of");
        let answer = issuer.credential(&ns.token(Some(&plain), DEFAULT_AUDIENCE).await?, Some(KEY)).await?;
        is_refused("the token of a pod without a session", &answer, 503, "SessionNotFound");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_deleted_pods_token_is_dead_and_a_new_pod_of_its_name_is_another_one() -> Result {
    in_namespace("recreated", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let issuer = Issuer::find(&ns.client).await?;
        let first = started(&ns, "agent").await?;
        let token = ns.token(Some(&first), DEFAULT_AUDIENCE).await?;
        ns.api::<Pod>().delete("agent", &DeleteParams::default()).await?;
        wait_for("the pod is gone", 60, async || {
            ensure!(ns.api::<Pod>().get_opt("agent").await?.is_none(), "it is there");
            Ok(())
        })
        .await?;
        dead("the token of a deleted pod", &issuer.credential(&token, Some(KEY)).await?);

        let second = started(&ns, "agent").await?;
        dead("the token of the pod before", &issuer.credential(&token, Some(OTHER)).await?);
        dead("the token of the pod before", &issuer.stream(&token, Some(OTHER)).await?);
        assert_ne!(first.uid(), second.uid());
        ns.sh("agent", "kubectl get pods").await?.ok()?;
        Ok(())
    })
    .await
}

/// The API server refuses the token, or the pod is looked for in vain: which one comes first is its business.
fn dead(what: &str, answer: &Answer) {
    let refusal = (answer.status, answer.code());
    assert!([(401, "TokenInvalid"), (403, "PodGone")].contains(&refusal), "{what}: {answer:?}");
}

#[tokio::test]
async fn a_terminating_pod_fetches_nothing_new() -> Result {
    in_namespace("terminating", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let issuer = Issuer::find(&ns.client).await?;
        let mut pod = agent("agent", "pods");
        pod.metadata.finalizers = Some(vec!["e2e.exeat.test/stay".to_owned()]);
        let outcome: Result = async {
            let pod = ns.start(pod).await?;
            bound(&ns, &pod).await?;
            let token = ns.token(Some(&pod), DEFAULT_AUDIENCE).await?;
            ns.api::<Pod>().delete("agent", &DeleteParams::default()).await?;
            // The token itself still passes for a minute: it is the pod that counts.
            let answer = issuer.credential(&token, Some(KEY)).await?;
            is_refused("a pod that is being deleted", &answer, 403, "PodGone");
            is_refused("its stream", &issuer.stream(&token, Some(KEY)).await?, 403, "PodGone");
            Ok(())
        }
        .await;
        let release = json!({"metadata": {"finalizers": null}});
        let released = ns.api::<Pod>().patch("agent", &PatchParams::default(), &Patch::Merge(&release)).await;
        outcome?;
        released?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pod_that_has_ended_fetches_nothing_new() -> Result {
    in_namespace("ended", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let issuer = Issuer::find(&ns.client).await?;
        // It ends when it is told to, once its token is there.
        let until_told = "while [ ! -e /tmp/end ]; do sleep 1; done";
        let pod = ns.start(script("agent", "pods", until_told)).await?;
        let token = ns.token(Some(&pod), DEFAULT_AUDIENCE).await?;
        ns.sh("agent", "touch /tmp/end").await?.ok()?;
        ns.session("agent", 1, Phase::Completed, 60).await?;
        let answer = issuer.credential(&token, Some(KEY)).await?;
        is_refused("a pod that has ended", &answer, 403, "PodGone");
        Ok(())
    })
    .await
}
