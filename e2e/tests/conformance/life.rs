//! What one client sees from its first credential to a revocation.

use std::time::{Duration, Instant};

use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{Result, Scope, ensure, in_namespace, wait_for};

use crate::client::{Client, Cloud, Line, Refresh};
use crate::results::record;

/// Longer than a credential of a minute.
const PAST_THE_END: Duration = Duration::from_secs(70);
/// What the person who revokes says.
pub(crate) const WHY: &str = "audit finding 42";

/// One client's life, in a namespace of its own.
pub(crate) async fn of(client: Client) -> Result {
    let _issuers = crate::ISSUERS.read().await;
    in_namespace("conform", async |ns| {
        ns.ready(client.policy(&ns, client.shortest())).await?;
        ns.start(client.pod()).await?;
        let key = begins(&client, &ns).await?;
        refreshes(&client, &ns, &key).await?;
        ends(&client, &ns).await
    })
    .await
}

/// It finds a credential, uses it, and is told what it may not do. Gives the credential's public name.
pub(crate) async fn begins(client: &Client, ns: &Scope) -> Result<String> {
    client.says(ns, "it finds a credential", 60, |line| line.step == "fetch" && line.ok).await?;
    record(client, "fetch")?;
    let used = client.says(ns, "an allowed call", 30, |line| line.step == "use" && line.ok).await?;
    record(client, "use")?;
    let denied = client.says(ns, "a denied call", 30, |line| line.step == "denied").await?;
    assert!(denied.ok && denied.error.contains(client.denial), "{}: {denied:?}", client.name);
    record(client, "denied")?;
    Ok(used.key)
}

/// What can be seen of its refresh within minutes; the table has what is seen in crate::together.
async fn refreshes(client: &Client, ns: &Scope, first: &str) -> Result {
    match (client.cloud, client.refresh) {
        // AWS's own shortest life is 15 minutes, so no sidecar renews within two: another sidecar has another credential.
        (Cloud::Aws, Refresh::EachCall) => {
            ns.crash_sidecar(&client.pod_name()).await?;
            takes_the_next(client, ns, first, 60).await?;
            // While a sidecar starts, whoever holds a credential goes on.
            if !client.each_process() {
                client.went_well(ns, &["use"]).await?;
            }
            return Ok(());
        }
        (_, Refresh::NearTheEnd) => {}
        (_, Refresh::EachCall) => takes_the_next(client, ns, first, 90).await?,
        (_, Refresh::Unseen) => {
            let (began, before) = (Instant::now(), client.uses(ns).await?);
            wait_for("it goes on past the end of its sidecar's first token", PAST_THE_END.as_secs() + 30, async || {
                client.went_well(ns, &["fetch", "use", "denied"]).await?;
                ensure!(began.elapsed() > PAST_THE_END && client.uses(ns).await? > before + 20, "not yet");
                Ok(())
            })
            .await?;
        }
    }
    client.went_well(ns, &["fetch", "use", "denied"]).await
}

/// Waits until the client that has lived from the start uses another credential than the first one.
pub(crate) async fn takes_the_next(client: &Client, ns: &Scope, first: &str, seconds: u64) -> Result {
    let another = |line: &Line| line.step == "use" && line.ok && line.key != first;
    client.says(ns, "it uses another credential", seconds, another).await?;
    Ok(())
}

/// After a revocation whoever looks for a credential is told so by the SDK's own error.
pub(crate) async fn ends(client: &Client, ns: &Scope) -> Result {
    let session = ns.session(&client.pod_name(), 1, Phase::Active, 10).await?;
    ns.revoke(&session, WHY).await?;
    // Azure's SDKs keep tokens for the whole process: there the ask for another resource is the one that reaches the sidecar.
    let asks = |line: &Line| line.step == if client.cloud == Cloud::Azure { "denied" } else { "fetch" };
    let told = |line: &Line| asks(line) && client.revoked.iter().all(|word| line.error.contains(word));
    client.says(ns, "it is told of the revocation", 45, told).await?;
    record(client, "revoked")
}
