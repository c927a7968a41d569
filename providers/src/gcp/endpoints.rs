//! Where Google's services are, in its own cloud or another universe.

use exeat_crds::v1alpha1::{GcpEndpoints, GcpProvider};

/// Universe domain of Google's own cloud.
const GOOGLE: &str = "googleapis.com";

/// The addresses that one provider uses.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    universe: String,
    iam_credentials: String,
    sts: String,
    oauth2: String,
    metadata: String,
}

impl Endpoints {
    pub(super) fn new(spec: &GcpProvider) -> Self {
        let universe = spec.universe_domain.clone().unwrap_or_else(|| GOOGLE.to_owned());
        let GcpEndpoints { iam_credentials, sts, oauth2, metadata } = spec.endpoints.clone().unwrap_or_default();
        let of = |given: Option<String>, name: &str| {
            let url = given.unwrap_or_else(|| format!("https://{name}.{universe}"));
            url.trim_end_matches('/').to_owned()
        };
        Self {
            iam_credentials: of(iam_credentials, "iamcredentials"),
            sts: of(sts, "sts"),
            oauth2: of(oauth2, "oauth2"),
            metadata: metadata.unwrap_or_else(|| "http://metadata.google.internal".to_owned()),
            universe,
        }
    }

    pub(super) fn universe(&self) -> &str {
        &self.universe
    }

    /// A method of the IAM Service Account Credentials API over one service account.
    pub(super) fn service_account(&self, email: &str, method: &str) -> String {
        format!("{}/v1/projects/-/serviceAccounts/{email}:{method}", self.iam_credentials)
    }

    pub(super) fn sts_token(&self) -> String {
        format!("{}/v1/token", self.sts)
    }

    pub(super) fn oauth2_token(&self) -> String {
        format!("{}/token", self.oauth2)
    }

    /// What the metadata server says of the identity where the issuer runs.
    pub(super) fn metadata(&self, leaf: &str) -> String {
        format!("{}/computeMetadata/v1/instance/service-accounts/default/{leaf}", self.metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_universe_unless_others_are_named() {
        let of = |json: serde_json::Value| Endpoints::new(&serde_json::from_value(json).unwrap());
        let google = of(serde_json::json!({"project": "p"}));
        assert_eq!(
            google.service_account("a@p.iam.gserviceaccount.com", "generateAccessToken"),
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:generateAccessToken"
        );
        assert_eq!(google.sts_token(), "https://sts.googleapis.com/v1/token");
        assert_eq!(google.oauth2_token(), "https://oauth2.googleapis.com/token");
        assert!(google.metadata("token").starts_with("http://metadata.google.internal/computeMetadata/v1/"));
        let other = of(
            serde_json::json!({"project": "p", "universeDomain": "cloud.test", "endpoints": {"sts": "http://sts.test/"}}),
        );
        assert_eq!((other.sts_token().as_str(), other.universe()), ("http://sts.test/v1/token", "cloud.test"));
        assert_eq!(other.oauth2_token(), "https://oauth2.cloud.test/token");
    }
}
