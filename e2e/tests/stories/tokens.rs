//! Tokens that the API server would not make: the cluster is ours, and so is the key that it signs with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeat_crds::names::DEFAULT_AUDIENCE;
use exeat_e2e::{Failure, Issuer, Result, agent, ensure, in_namespace, kubernetes_policy, now, shell, wait_for};
use jsonwebtoken::{EncodingKey, decode_header, encode};
use kube::ResourceExt;
use serde_json::{Value, json};

/// A key as sidecars write it, of nobody.
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const HOUR: i64 = 3600;

type Change = fn(&mut Value);

/// A token like another one, but for a change of its claims.
fn signed(token: &str, key: &EncodingKey, change: Change) -> Result<String> {
    let claims = token.split('.').nth(1).ok_or_else(|| Failure::new("no JWT"))?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    change(&mut claims);
    Ok(encode(&decode_header(token)?, &claims, key)?)
}

fn times(claims: &mut Value, from: i64, to: i64) {
    let now = now().as_second();
    claims["iat"] = json!(now + from);
    claims["nbf"] = json!(now + from);
    claims["exp"] = json!(now + to);
}

#[tokio::test]
async fn an_expired_token_is_refused_and_so_is_whatever_else_does_not_fit() -> Result {
    in_namespace("tokens", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let pod = ns.start(agent("agent", "pods")).await?;
        let session = wait_for("the sidecar's key is bound", 20, async || {
            let session = ns.sessions("agent").await?.into_iter().next();
            let issuance = session.as_ref().and_then(|s| s.status.as_ref()).and_then(|s| s.issuance.as_ref());
            ensure!(issuance.is_some_and(|i| i.holder.is_some()), "none is");
            session.ok_or_else(|| Failure::new("there is no session"))
        })
        .await?;
        let issuer = Issuer::find(&ns.client).await?;
        let token = ns.token(Some(&pod), DEFAULT_AUDIENCE).await?;
        let cluster = EncodingKey::from_rsa_pem(shell("cat \"$EXEAT_RUN_DIR/pki/sa.key\"").await?.ok()?.as_bytes())?;
        let other = EncodingKey::from_rsa_pem(shell("openssl genrsa 2048 2>/dev/null").await?.ok()?.as_bytes())?;

        // The signer is as good as the API server: with nothing amiss the token proves the pod, whose sidecar lives.
        for (what, change) in [("as it was", (|_| {}) as Change), ("other times", |c| times(c, -60, HOUR))] {
            let answer = issuer.credential(&signed(&token, &cluster, change)?, Some(KEY)).await?;
            assert_eq!((answer.status, answer.code()), (503, "HolderConflict"), "{what}: {answer:?}");
            assert_eq!(answer.body["session"], session.name_any(), "{what}");
        }
        let cases: [(&str, &EncodingKey, Change, &str); 7] = [
            ("expired", &cluster, |c| times(c, -2 * HOUR, -HOUR), "ExpiredSignature"),
            ("expired a minute ago", &cluster, |c| times(c, -HOUR, -60), "ExpiredSignature"),
            ("not valid yet", &cluster, |c| times(c, HOUR, 2 * HOUR), "ImmatureSignature"),
            ("without an end", &cluster, |c| drop(c.as_object_mut().and_then(|c| c.remove("exp"))), "exp"),
            ("of another issuer", &cluster, |c| c["iss"] = json!("https://evil.test"), "InvalidIssuer"),
            ("of another pod", &cluster, |c| c["kubernetes.io"]["pod"]["uid"] = json!("other"), "API server"),
            ("signed by somebody else", &other, |_| {}, "InvalidSignature"),
        ];
        for (what, key, change, why) in cases {
            let token = signed(&token, key, change)?;
            for answer in [issuer.credential(&token, Some(KEY)).await?, issuer.stream(&token, Some(KEY)).await?] {
                assert_eq!((answer.status, answer.code()), (401, "TokenInvalid"), "{what}: {answer:?}");
                let message = answer.body["message"].as_str().unwrap_or_default();
                assert!(message.contains(why), "{what}: {message}");
            }
        }
        Ok(())
    })
    .await
}
