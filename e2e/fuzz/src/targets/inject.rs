//! A pod through the injector.

use std::collections::BTreeSet;

use exeat_crds::names;
use exeat_webhook::message;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};

use super::{must, refusal};
use crate::engine::Target;
use crate::installation::{AUDIENCE, IMAGE, Installation, POD_TOKENS};

pub(super) struct Inject {
    installation: Installation,
}

impl Inject {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self { installation: Installation::read()? })
    }
}

impl Target for Inject {
    fn name(&self) -> &'static str {
        "inject"
    }

    fn tokens(&self) -> &'static [&'static str] {
        POD_TOKENS
    }

    fn judge(&mut self, input: &[u8]) -> Result<String, String> {
        let Ok(pod) = serde_json::from_slice::<Pod>(input) else { return Ok("no pod".to_owned()) };
        match self.installation.inject(&pod) {
            Ok(injected) => {
                let again = self.installation.inject(&injected);
                let again = again.map_err(|problems| format!("injected once, then refused: {problems:?}"))?;
                must(again == injected, || "injecting twice is not injecting once".to_owned())?;
                guarded(&injected)?;
                Ok(shape(&pod, &injected))
            }
            Err(problems) => {
                must(!problems.is_empty(), || "refused without a reason".to_owned())?;
                Ok(refusal(&message::all(&problems)))
            }
        }
    }
}

/// What holds of every injected pod, whatever its author wrote. Ephemeral containers are left out: the API server takes none in a pod
/// that is created.
pub(super) fn guarded(pod: &Pod) -> Result<(), String> {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    must(labels.get(names::INJECTED_LABEL).is_some_and(|label| label == "true"), || "no label".to_owned())?;
    let spec = pod.spec.as_ref().ok_or("no spec")?;
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let (ours, mut others): (Vec<&Container>, Vec<&Container>) = inits.iter().partition(|c| c.name == names::SIDECAR);
    others.extend(&spec.containers);
    let [sidecar] = ours.as_slice() else { return Err(format!("{} sidecars", ours.len())) };
    sidecar_is_ours(sidecar)?;
    let identity: BTreeSet<&str> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| proves_the_pod(volume))
        .map(|volume| volume.name.as_str())
        .collect();
    must(identity == BTreeSet::from([names::IDENTITY_VOLUME]), || format!("tokens for us in {identity:?}"))?;
    let volumes = spec.volumes.iter().flatten().filter(|volume| volume.name == names::IDENTITY_VOLUME).count();
    must(volumes == 1, || format!("{volumes} volumes {}", names::IDENTITY_VOLUME))?;
    for container in others {
        other_is_kept_out(spec, container)?;
    }
    containers_are_kept_apart(pod)
}

fn is_memory(volume: &str) -> bool {
    volume == "exeat-run" || matches!(volume.strip_prefix("exeat-run-"), Some("1" | "2" | "3" | "4" | "5" | "6" | "7"))
}

/// What a container with policies of its own is given is in a volume that no other container mounts, and at a port that no other is led to.
fn containers_are_kept_apart(pod: &Pod) -> Result<(), String> {
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let spec = pod.spec.as_ref().ok_or("no spec")?;
    let inits = spec.init_containers.iter().flatten().filter(|container| container.name != names::SIDECAR);
    let containers: Vec<&Container> = inits.chain(&spec.containers).collect();
    // The API server refuses two of one name.
    if containers.iter().map(|container| &container.name).collect::<BTreeSet<_>>().len() < containers.len() {
        return Ok(());
    }
    let (mut volumes, mut ports) = (Vec::new(), Vec::new());
    for container in containers {
        let own = annotations.contains_key(&format!("policy.exeat.dev/{}", container.name));
        let mounts = container.volume_mounts.iter().flatten();
        // Twice at one path, the API server refuses it.
        let of_group: BTreeSet<String> =
            mounts.map(|mount| mount.name.clone()).filter(|name| is_memory(name)).collect();
        let name = &container.name;
        must(of_group.len() < 2, || format!("{name:?} mounts the memory of several groups"))?;
        volumes.extend(of_group.into_iter().map(|volume| (volume, own, name.clone())));
        let led = container.env.iter().flatten().find(|variable| variable.name == "AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let skipped =
            annotations.get("exeat.dev/skip-containers").is_some_and(|list| list.split(',').any(|s| s.trim() == name));
        if let Some(value) = led.filter(|_| !skipped).and_then(|variable| variable.value.clone()) {
            ports.push((value, own, name.clone()));
        }
    }
    for list in [volumes, ports] {
        for (i, (what, own, name)) in list.iter().enumerate() {
            let shared = list[..i].iter().find(|(other, others_own, _)| other == what && (*own || *others_own));
            must(shared.is_none(), || format!("{name:?} and {shared:?} share {what:?}"))?;
        }
    }
    Ok(())
}

fn proves_the_pod(volume: &Volume) -> bool {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let tokens = sources.filter_map(|source| source.service_account_token.as_ref());
    volume.name == names::IDENTITY_VOLUME || tokens.into_iter().any(|token| token.audience.as_deref() == Some(AUDIENCE))
}

fn sidecar_is_ours(sidecar: &Container) -> Result<(), String> {
    must(sidecar.image.as_deref() == Some(IMAGE), || format!("the sidecar's image is {:?}", sidecar.image))?;
    let restarts = sidecar.restart_policy.as_deref() == Some("Always");
    must(restarts && sidecar.command.is_none() && sidecar.args.is_none() && sidecar.lifecycle.is_none(), || {
        "the sidecar does not run as it must".to_owned()
    })?;
    must(sidecar.env_from.is_none(), || "the sidecar has envFrom".to_owned())?;
    let mut variables: Vec<&str> = sidecar.env.iter().flatten().map(|variable| variable.name.as_str()).collect();
    variables.retain(|name| name.starts_with("EXEAT_") || *name == "POD_UID");
    let different: BTreeSet<&str> = variables.iter().copied().collect();
    must(different.len() == variables.len(), || format!("a setting of the sidecar is written twice: {variables:?}"))?;
    let mounts: Vec<&str> = sidecar.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect();
    let ours = |path: &str| mounts.iter().filter(|mount| **mount == path).count() == 1;
    must(ours(names::IDENTITY_PATH) && ours(names::RUN_PATH), || format!("the sidecar mounts {mounts:?}"))
}

fn other_is_kept_out(spec: &PodSpec, container: &Container) -> Result<(), String> {
    let name = &container.name;
    must(name != names::SIDECAR, || "a second container has the sidecar's name".to_owned())?;
    for mount in container.volume_mounts.iter().flatten() {
        must(mount.name != names::IDENTITY_VOLUME, || format!("{name:?} mounts the identity"))?;
        let writes = mount.name.starts_with(names::RUN_VOLUME)
            && mount.mount_path == names::RUN_PATH
            && mount.read_only != Some(true);
        must(!writes, || format!("{name:?} may write where the sidecar leaves credentials"))?;
    }
    let context = container.security_context.as_ref();
    let dropped = context.and_then(|c| c.capabilities.as_ref()).and_then(|c| c.drop.as_ref());
    let raw = |capability: &String| {
        let capability = capability.to_ascii_uppercase();
        matches!(capability.strip_prefix("CAP_").unwrap_or(&capability), "ALL" | "NET_RAW")
    };
    must(dropped.is_some_and(|dropped| dropped.iter().any(raw)), || format!("{name:?} keeps NET_RAW"))?;
    must(context.and_then(|c| c.privileged) != Some(true), || format!("{name:?} is privileged"))?;
    let user = context.and_then(|c| c.run_as_user).or(spec.security_context.as_ref().and_then(|c| c.run_as_user));
    must(user != Some(60911), || format!("{name:?} runs as the sidecar's user"))
}

/// How many containers there are, and what was injected.
fn shape(pod: &Pod, injected: &Pod) -> String {
    let spec = injected.spec.clone().unwrap_or_default();
    let inits = spec.init_containers.unwrap_or_default();
    let ours = inits.iter().find(|c| c.name == names::SIDECAR);
    let env = ours.and_then(|c| c.env.as_ref()).map_or(0, Vec::len);
    let connected = spec.containers.iter().filter(|c| c.volume_mounts.is_some()).count().min(3);
    let (count, inits) = (spec.containers.len().min(3), inits.len().min(3));
    format!(
        "injected containers={count} connected={connected} inits={inits} env={} again={}",
        env.min(9),
        pod == injected
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oracle_sees_containers_that_are_not_kept_apart() {
        let pod = json!({
            "metadata": {"annotations": {"exeat.dev/policy": "report-writer", "policy.exeat.dev/helper": "report-cleaner"}},
            "spec": {"serviceAccountName": "report-agent", "containers": [{"name": "app"}, {"name": "helper"}]},
        });
        let injected = Installation::read().unwrap().inject(&serde_json::from_value(pod).unwrap()).unwrap();
        guarded(&injected).unwrap();
        let containers = "/spec/containers";
        for (place, value) in [
            ("0/volumeMounts/0/name", json!("exeat-run-1")),
            ("1/volumeMounts/0/name", json!("exeat-run")),
            ("1/env/0/value", json!("http://127.0.0.1:9911/aws/credentials")),
        ] {
            let mut forged = serde_json::to_value(&injected).unwrap();
            *forged.pointer_mut(&format!("{containers}/{place}")).unwrap() = value;
            let wrong = guarded(&serde_json::from_value(forged).unwrap()).unwrap_err();
            assert!(wrong.contains("share"), "{place}: {wrong}");
        }
    }

    #[test]
    fn the_oracle_sees_what_an_injection_must_not_leave() {
        let pod = json!({
            "metadata": {"annotations": {"exeat.dev/policy": "report-writer"}},
            "spec": {"serviceAccountName": "report-agent", "containers": [{"name": "app"}]},
        });
        let injected = Installation::read().unwrap().inject(&serde_json::from_value(pod).unwrap()).unwrap();
        guarded(&injected).unwrap();
        let app = "/spec/containers/0";
        for (place, value, told) in [
            (format!("{app}/volumeMounts/0/name"), json!("exeat-id"), "mounts the identity"),
            (format!("{app}/volumeMounts/0/readOnly"), json!(false), "may write"),
            (format!("{app}/securityContext/capabilities/drop"), json!([]), "keeps NET_RAW"),
            (format!("{app}/name"), json!("exeat-sidecar"), "second container"),
            ("/spec/initContainers/0/image".to_owned(), json!("evil"), "image"),
            ("/spec/initContainers/0/name".to_owned(), json!("other"), "0 sidecars"),
            ("/spec/volumes/1".to_owned(), json!({"name": "exeat-id"}), "2 volumes"),
        ] {
            let mut forged = serde_json::to_value(&injected).unwrap();
            *forged.pointer_mut(&place).unwrap() = value;
            let wrong = guarded(&serde_json::from_value(forged).unwrap()).unwrap_err();
            assert!(wrong.contains(told), "{place}: {wrong}");
        }
    }
}
