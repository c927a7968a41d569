//! All clients at once, each one process for a quarter of an hour: the issuers go away and come back, and each takes its next credential
//! when its SDK thinks it is time.

use std::time::{Duration, Instant};

use exeat_e2e::{Result, Scope, connect, ensure, in_namespace, system, wait_for};
use futures::future::try_join_all;
use kube::Client as Api;

use crate::client::{Client, Cloud, Refresh};
use crate::clients::ALL;
use crate::life::{begins, ends, takes_the_next};
use crate::results::{record, record_refresh};
use crate::traps::{FETCHES, REQUESTS, metrics, sum};

/// How often each client calls while there is no issuer.
const CALLS: usize = 5;
/// An SDK that waits for the last seconds of 15 minutes.
const LATEST: u64 = 17 * 60;
/// Calls of a sidecar to the issuer, for all that its client did: the first credential, the renewals at 6 to 7.5 minutes, and what the
/// outage cost.
const FEW: u64 = 12;

#[tokio::test]
#[ignore = "a part of make conformance"]
async fn all_clients_outlive_an_outage_and_their_first_credential() -> Result {
    let _issuers = crate::ISSUERS.write().await;
    let client = connect().await?;
    let outcome = in_namespace("together", async |ns| {
        try_join_all(ALL.iter().map(|client| starts(client, &ns))).await?;
        let keys = try_join_all(ALL.iter().map(|client| begins(client, &ns))).await?;
        let began = Instant::now();

        outage(&ns).await?;

        let nexts = ALL.iter().zip(&keys).map(async |(client, first)| next(client, &ns, first, began).await);
        try_join_all(nexts).await?;
        for client in ALL {
            client.went_well(&ns, &["fetch", "use", "denied"]).await?;
            if client.cloud == Cloud::Aws {
                no_storm(client, &ns).await?;
            }
        }
        try_join_all(ALL.iter().map(|client| ends(client, &ns))).await?;
        Ok(())
    })
    .await;
    restore(&client).await?;
    outcome
}

/// How long a client's credentials live.
fn life(client: &Client) -> &'static str {
    if client.cloud == Cloud::Aws { "15m" } else { "10m" }
}

async fn starts(client: &Client, ns: &Scope) -> Result {
    ns.ready(client.policy(ns, life(client))).await?;
    ns.start(client.pod()).await?;
    Ok(())
}

async fn restore(client: &Api) -> Result {
    system::scale(client, "issuer", 2).await.map(drop)
}

/// Without any issuer the clients go on.
async fn outage(ns: &Scope) -> Result {
    system::scale(&ns.client, "issuer", 0).await?;
    let outlives = async |client: &Client| {
        let before = client.uses(ns).await?;
        wait_for(&format!("{} goes on without an issuer", client.name), 180, async || {
            client.went_well(ns, &["fetch", "use", "denied"]).await?;
            let since = client.uses(ns).await? - before;
            ensure!(since >= CALLS, "{since} calls");
            Ok(())
        })
        .await?;
        record(client, "outage")
    };
    try_join_all(ALL.iter().map(outlives)).await?;
    restore(&ns.client).await
}

/// Vault's clients hold nothing: the token that their sidecar holds is past its end.
async fn next(client: &Client, ns: &Scope, first: &str, began: Instant) -> Result {
    if client.refresh == Refresh::Unseen {
        wait_for("a token is past its end", LATEST, async || {
            ensure!(began.elapsed() > Duration::from_mins(11), "not yet");
            Ok(())
        })
        .await?;
    } else {
        takes_the_next(client, ns, first, LATEST).await?;
    }
    record_refresh(client, began.elapsed(), life(client))
}

/// With credentials of 15 minutes some SDKs ask for one with each call. That stays within the pod.
async fn no_storm(client: &Client, ns: &Scope) -> Result {
    let said = metrics(ns, &client.pod_name()).await?;
    let fetches = sum(&said, FETCHES);
    let served = sum(&said, REQUESTS);
    println!("{}: the sidecar was asked {served} times and asked the issuer {fetches} times", client.name);
    ensure!(fetches <= FEW && served > 10 * fetches, "{}: {said}", client.name);
    Ok(())
}
