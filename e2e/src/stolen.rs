//! A credential that somebody has taken along.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};

use crate::{Failure, Result, Scope, connect_with_token, wait_for};

/// A token of an agent, used from outside.
pub struct StolenToken(Api<SelfSubjectReview>);

impl Scope {
    /// Takes the token out of a pod that holds one of the Kubernetes provider.
    ///
    /// # Errors
    /// When there is none, or it does not work.
    pub async fn steal_token(&self, pod: &str) -> Result<StolenToken> {
        let token = self.sh(pod, "cat /var/run/exeat/kubernetes/token").await?.ok()?;
        let stolen = StolenToken(Api::all(connect_with_token(token.trim()).await?));
        stolen.works().await?;
        Ok(stolen)
    }
}

impl StolenToken {
    /// That the API server knows whose it is, whatever is left of his rights in a namespace that goes.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn works(&self) -> Result {
        self.0.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
        Ok(())
    }

    /// Waits until the API server knows nobody by it, as soon after the end of access as a session's promise says.
    ///
    /// # Errors
    /// What it says instead after 15 seconds.
    pub async fn refused(&self) -> Result {
        wait_for("the stolen token is refused", 15, async || {
            match self.0.create(&PostParams::default(), &SelfSubjectReview::default()).await {
                Err(kube::Error::Api(status)) if status.code == 401 => Ok(()),
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await
    }
}
