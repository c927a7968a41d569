//! The names that Exeat puts on objects: one place for all of them.

use crate::pod_policies::MAX_POLICIES;

/// Pod annotation: the policy that this pod asks for, or several of different kinds of providers, separated by commas.
pub const POLICY: &str = "exeat.dev/policy";
/// Pod annotation: a shorter session than the policy's.
pub const DURATION: &str = "exeat.dev/duration";
/// Pod annotation: less than the policy allows.
pub const ALLOW: &str = "exeat.dev/allow";
/// Pod annotation: why, in the author's words.
pub const JUSTIFICATION: &str = "exeat.dev/justification";
/// Pod annotation: the sidecar's loopback port.
pub const PORT: &str = "exeat.dev/port";
/// Pod annotation: what the start-up probe waits for: `decision` or `approval`.
pub const WAIT: &str = "exeat.dev/wait";
/// Pod annotation: `Env` hands the loopback secret to SDKs that are too old for a token file.
pub const AWS_TOKEN: &str = "exeat.dev/aws-token";
/// Pod annotation: `true` makes the sidecar Google's metadata server by its own name, on port 80, for clients that know no other.
pub const GCP_METADATA_HOST: &str = "exeat.dev/gcp-metadata-host";
/// Pod annotation: container names, comma separated, that get no credentials.
pub const SKIP_CONTAINERS: &str = "exeat.dev/skip-containers";
/// Pod annotation: container names whose `envFrom` the author has checked for shadowing variables.
pub const ALLOW_ENV_FROM: &str = "exeat.dev/allow-env-from";
/// Annotation on pods and holds, stamped: the person who created them, where a person did.
pub const REQUESTER: &str = "exeat.dev/requester";
/// Annotation on policies, stamped: who changed the spec last.
pub const LAST_EDITOR: &str = "exeat.dev/last-editor";
/// Prefix of our pod annotations; they are frozen after admission.
pub const ANNOTATION_PREFIX: &str = "exeat.dev/";
/// Prefix of pod annotations that give a single container its policies, instead of the pod's: `policy.exeat.dev/<container>`.
pub const CONTAINER_POLICY_PREFIX: &str = "policy.exeat.dev/";

/// Pod label, stamped by the webhook and frozen by admission policy: the controller watches these pods only.
pub const INJECTED_LABEL: &str = "exeat.dev/injected";
/// Session label: UID of the pod that holds it.
pub const POD_UID_LABEL: &str = "exeat.dev/pod-uid";
/// Label on what a provider made for a session: the session's UID.
pub const SESSION_UID_LABEL: &str = "exeat.dev/session-uid";

/// Finalizer of sessions with something to revoke at their provider.
pub const REVOKE_FINALIZER: &str = "exeat.dev/revoke";

/// Field manager of the controller.
pub const CONTROLLER: &str = "exeat-controller";
/// Field manager of the issuer.
pub const ISSUER: &str = "exeat-issuer";
/// Field manager of the issuer for what agents were seen to use: it is written apart from all else.
pub const ISSUER_SUGGESTED: &str = "exeat-issuer-suggested";
/// Field manager of the webhook.
pub const WEBHOOK: &str = "exeat-webhook";

/// Name of the injected container.
pub const SIDECAR: &str = "exeat-sidecar";
/// Volume with the identity token, mounted in the sidecar alone.
pub const IDENTITY_VOLUME: &str = "exeat-id";
/// Memory volume that sidecar and agents share. A container with policies of its own has another: [`run_volume`].
pub const RUN_VOLUME: &str = "exeat-run";
/// Where the identity token is: the service account path, so that the API server does not mount the agent's own token there.
pub const IDENTITY_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Where the shared memory volume is.
pub const RUN_PATH: &str = "/var/run/exeat";
/// The sidecar's port unless the pod names another.
pub const DEFAULT_PORT: u16 = 9911;
/// Audience of identity tokens unless the installation has its own.
pub const DEFAULT_AUDIENCE: &str = "exeat.dev";
/// Namespace of the accounts that the Kubernetes provider makes.
pub const GRANTS_NAMESPACE: &str = "exeat-grants";

/// ConfigMap in our own namespace with the issuer's public root (key `ca.crt`).
pub const ISSUER_ROOT_CONFIG_MAP: &str = "exeat-issuer-root";
/// Secret in our own namespace with the issuer's root key and certificate.
pub const ISSUER_ROOT_SECRET: &str = "exeat-issuer-root";
/// Secret in our own namespace with the webhook's root key and certificate.
pub const WEBHOOK_ROOT_SECRET: &str = "exeat-webhook-root";
/// ConfigMap in our own namespace with the last record of each audit chain.
pub const AUDIT_HEADS_CONFIG_MAP: &str = "exeat-audit-heads";
/// Admission policy that says which images are the sidecar's.
pub const SIDECAR_POLICY: &str = "exeat-sidecar";
/// Annotation on it: these images, separated by commas.
pub const SIDECAR_IMAGES: &str = "exeat.dev/sidecar-images";

/// Secret in our own namespace with the key of the audit chains of `program`, `controller` or `issuer`.
pub fn audit_key_secret(program: &str) -> String {
    format!("exeat-audit-key-{program}")
}

/// Annotation on either of these Secrets: any new value asks for a new root.
pub const ROTATE: &str = "exeat.dev/rotate";
/// Annotation beside [`ROTATE`]: the value that was handled last.
pub const ROTATED: &str = "exeat.dev/rotated";

/// Whether an annotation of a pod is ours to judge: each of them counts at creation, and stays as it is.
pub fn is_pod_annotation(key: &str) -> bool {
    key.starts_with(ANNOTATION_PREFIX) || key.starts_with(CONTAINER_POLICY_PREFIX)
}

/// The memory volume of a pod's group of containers by its number ([`crate::pod_policies::groups`]); that of the pod's own list is 0.
pub fn run_volume(number: usize) -> String {
    numbered(RUN_VOLUME, number)
}

/// Where the sidecar has that volume. Containers of the group have it at [`RUN_PATH`].
pub fn run_path(number: usize) -> String {
    numbered(RUN_PATH, number)
}

/// Whether a volume of this name is the memory volume of some group. The admission policy `exeat-pods` knows the same names.
pub fn is_run_volume(name: &str) -> bool {
    (0..MAX_POLICIES).any(|number| run_volume(number) == name)
}

fn numbered(name: &str, number: usize) -> String {
    if number == 0 { name.to_owned() } else { format!("{name}-{number}") }
}

/// Longest session name; it is also an AWS role session name (64) and a label value (63).
const MAX_SESSION_NAME: usize = 63;
/// Longest part of the pod's name in a session's name.
const MAX_POD_PART: usize = 40;

/// Name of the `number`-th session of a pod: `<pod, at most 40 characters>-<hash of pod UID and policy>-<number>`.
pub fn session_name(pod: &str, pod_uid: &str, policy: &str, number: i32) -> String {
    let mut part: String = pod.chars().take(MAX_POD_PART).collect();
    while part.ends_with(['-', '.']) {
        part.pop();
    }
    let hash = crate::digest::sha256_hex(format!("{pod_uid}/{policy}").as_bytes());
    let name = format!("{part}-{}-{number}", &hash[..8]);
    debug_assert!(name.len() <= MAX_SESSION_NAME);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_a_volume_of_its_own_and_no_other_name_is_one() {
        assert_eq!((run_volume(0), run_path(0)), (RUN_VOLUME.to_owned(), RUN_PATH.to_owned()));
        assert_eq!((run_volume(7), run_path(7)), ("exeat-run-7".to_owned(), "/var/run/exeat-7".to_owned()));
        assert!(["exeat-run", "exeat-run-1", "exeat-run-7"].into_iter().all(is_run_volume));
        for other in ["exeat-run-0", "exeat-run-8", "exeat-run-10", "exeat-run-", "exeat-run-data", "exeat-id", ""] {
            assert!(!is_run_volume(other), "{other}");
        }
    }

    #[test]
    fn session_names_fit_and_differ_by_pod_policy_and_number() {
        let long = "a".repeat(39) + "-" + &"b".repeat(200);
        let name = session_name(&long, "uid", "policy", i32::MAX);
        assert!(name.len() <= 63, "{name}");
        assert!(!name.contains("--"), "{name}");
        let one = session_name("pod", "uid", "p", 1);
        assert_ne!(one, session_name("pod", "uid", "p", 2));
        assert_ne!(one, session_name("pod", "uid2", "p", 1));
        assert_ne!(one, session_name("pod", "uid", "q", 1));
    }
}
