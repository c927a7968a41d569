//! AssumeRoleWithWebIdentity by the issuer's own token: a MinIO of its own trusts the cluster's OpenID Connect issuer, as a cloud
//! account would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::s3::{self, call};
use crate::support::{ISSUER, Place, in_place, provider, request, until};
use aws_credential_types::Credentials;
use exeat_crds::reason::Reason;
use exeat_crds::rules::Kind;
use jiff::SignedDuration;
use serde_json::json;

const TTL: SignedDuration = SignedDuration::from_mins(15);
const ADDRESS: &str = "127.0.0.1:19010";
const ENDPOINT: &str = "http://127.0.0.1:19010";
const AUDIENCE: &str = "sts.amazonaws.com";
const ROOT: (&str, &str) = ("exeat-root", "exeat-root-secret");

/// A MinIO that ends with the test.
struct Minio {
    process: Child,
    folder: PathBuf,
}

impl Minio {
    fn start(place: &Place) -> Self {
        let folder = std::env::temp_dir().join(&place.name);
        std::fs::create_dir_all(folder.join("certs/CAs")).unwrap();
        std::fs::create_dir_all(folder.join("data")).unwrap();
        std::fs::write(folder.join("certs/CAs/cluster.crt"), place.context.cluster_ca_pem.as_ref().unwrap()).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let discovery = format!("{}.well-known/openid-configuration", place.config.cluster_url);
        let process = Command::new(program())
            .args(["server", "--address", ADDRESS, "--certs-dir"])
            .arg(folder.join("certs"))
            .arg(folder.join("data"))
            .envs([("MINIO_ROOT_USER", ROOT.0), ("MINIO_ROOT_PASSWORD", ROOT.1)])
            .envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off")])
            .env("MINIO_IDENTITY_OPENID_CONFIG_URL", discovery)
            .env("MINIO_IDENTITY_OPENID_CLIENT_ID", AUDIENCE)
            .env("MINIO_IDENTITY_OPENID_ROLE_POLICY", "readwrite")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    /// The role that it gives to holders of our tokens, once it says which.
    async fn role(&self) -> String {
        let role = || {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap();
            let start = log.find("arn:minio:iam:::role/")?;
            log[start..].split_whitespace().next().map(str::to_owned)
        };
        until("MinIO's role", Duration::from_secs(30), || async { role().is_some() }).await;
        role().unwrap()
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn program() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/build.sh");
    let output = Command::new("bash").arg(script).args(["--print", "backends"]).output().unwrap();
    Path::new(String::from_utf8(output.stdout).unwrap().trim()).join("minio")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_own_token_assumes_the_role_with_the_grant() {
    in_place("web", async |place| {
        place.publish_issuer().await;
        let minio = Minio::start(&place);
        let role = minio.role().await;
        let root = Credentials::from_keys(ROOT.0, ROOT.1, None);
        for path in ["/reports", "/payroll", "/reports/q3.txt", "/payroll/salaries.txt"] {
            assert_eq!(call(ENDPOINT, &root, "PUT", path).await, 200, "{path}");
        }

        let mut context = place.context.clone();
        context.web_identity_token_file = minio.folder.join("token");
        let put_token = async |audience: &str| {
            let token = place.token(&place.system(), ISSUER, vec![audience.to_owned()]).await;
            std::fs::write(&context.web_identity_token_file, token).unwrap();
        };
        let aws = json!({
            "region": "us-east-1", "endpoint": ENDPOINT, "source": "WebIdentity", "roleARN": role, "dialect": "S3Compatible",
        });
        let provider = provider(json!({"aws": aws}), &context).await.unwrap();
        let (session, reports) = (place.session("report-0a1b2c3d-1"), ["arn:aws:s3:::reports/*"]);
        let grant = crate::support::grant(Kind::Aws, &role, &[(&["s3:GetObject"], &reports)]);

        put_token("somebody.else").await;
        let error = provider.mint(&request(&session, &grant, TTL)).await.unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
        assert!(error.message.contains("audience") && !error.message.contains("eyJ"), "{error}");

        // The file is read anew each time.
        put_token(AUDIENCE).await;
        let minted = provider.mint(&request(&session, &grant, TTL)).await.unwrap();
        let keys = s3::keys(&minted.credential);
        for (method, path, status) in [
            ("GET", "/reports/q3.txt", 200),
            ("PUT", "/reports/new.txt", 403),
            ("GET", "/payroll/salaries.txt", 403),
            ("GET", "/reports", 403),
        ] {
            assert_eq!(call(ENDPOINT, &keys, method, path).await, status, "{method} {path}");
        }

        // Another principal: first the role of the provider, then from that the principal. MinIO lets no role assume another.
        let other = crate::support::grant(Kind::Aws, "arn:aws:iam::000000000000:role/other", &[(&["s3:GetObject"], &reports)]);
        assert!(provider.probe_identity().await.unwrap().chained);
        let error = provider.mint(&request(&session, &other, TTL)).await.unwrap_err();
        assert_eq!(error.reason, Reason::AssumeRoleDenied, "{error}");
    })
    .await;
}
