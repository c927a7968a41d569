//! What belongs to Exeat: the sidecar's name, its volumes, its paths and its audience.

use std::collections::BTreeSet;

use exeat_crds::names;
use exeat_crds::pod_policies::MAX_POLICIES;
use exeat_crds::reason::{Reason, Refused};
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume, VolumeMount};

use crate::inject::{BINARY, TOKEN_PATH, is_injected_mount};
use crate::message::refused;
use crate::pod::{Placed, is_within, mount_path, others, sidecar};
use crate::settings::{Settings, SidecarSettings};

fn is_ours(volume: &str) -> bool {
    volume == names::IDENTITY_VOLUME || names::is_run_volume(volume)
}

pub(super) fn check(spec: &PodSpec, settings: &Settings) -> Vec<Refused> {
    let volumes = spec.volumes.iter().flatten().filter_map(|v| volume(v, &settings.audience));
    let containers = others(spec).flat_map(container);
    let sidecar = sidecar(spec).into_iter().flat_map(|c| genuine(c, &settings.sidecar));
    volumes.chain(containers).chain(sidecar).chain(repeated(spec)).collect()
}

/// Of several things with a name of ours only the first would be made ours. The API server takes no name twice, but judges after us.
fn repeated(spec: &PodSpec) -> Vec<Refused> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.name == names::SIDECAR).count();
    let ours: BTreeSet<&str> =
        spec.volumes.iter().flatten().map(|v| v.name.as_str()).filter(|name| is_ours(name)).collect();
    let volumes = |name: &str| spec.volumes.iter().flatten().filter(|volume| volume.name == name).count();
    let mut counts = vec![("initContainers", names::SIDECAR, sidecars)];
    counts.extend(ours.into_iter().map(|name| ("volumes", name, volumes(name))));
    counts.retain(|(_, _, count)| *count > 1);
    let refuse = |(list, name, count)| {
        let problem = format!("it is there {count} times");
        refused(
            Reason::PodUnsuitable,
            format_args!("spec.{list}[name={name}]"),
            problem,
            "remove it; the webhook adds its own",
        )
    };
    counts.into_iter().map(refuse).collect()
}

fn volume(volume: &Volume, audience: &str) -> Option<Refused> {
    let field = format!("spec.volumes[name={}]", volume.name);
    let genuine = match volume.name.as_str() {
        names::IDENTITY_VOLUME => is_identity(volume, audience),
        name if names::is_run_volume(name) => {
            volume.empty_dir.as_ref().is_some_and(|dir| dir.medium.as_deref() == Some("Memory"))
        }
        _ => {
            return mints_for(volume, audience).then(|| {
                refused(
                    Reason::PodUnsuitable,
                    format_args!("{field}.projected"),
                    format_args!(
                        "a token for audience {audience:?} proves the pod to Exeat and is the sidecar's alone"
                    ),
                    "remove the source, or choose another audience",
                )
            });
        }
    };
    (!genuine).then(|| {
        let fix = "rename yours; the webhook adds its own";
        refused(Reason::PodUnsuitable, field, "the name is taken by a volume of Exeat", fix)
    })
}

fn mints_for(volume: &Volume, audience: &str) -> bool {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    sources
        .filter_map(|source| source.service_account_token.as_ref())
        .any(|token| token.audience.as_deref() == Some(audience))
}

fn is_identity(volume: &Volume, audience: &str) -> bool {
    let Some(projected) = &volume.projected else { return false };
    let [source] = projected.sources.as_deref().unwrap_or_default() else { return false };
    let token = source.service_account_token.as_ref();
    token.is_some_and(|token| token.audience.as_deref() == Some(audience) && token.path == TOKEN_PATH)
        && matches!(projected.default_mode, None | Some(0o644))
}

fn container(placed: Placed<'_>) -> Vec<Refused> {
    let path = placed.path();
    let mut problems = Vec::new();
    if placed.container.name == names::SIDECAR {
        let fix = "rename yours; the webhook adds its own";
        problems.push(refused(Reason::PodUnsuitable, &path, "the name is taken by the sidecar of Exeat", fix));
    }
    let mounts = placed.container.volume_mounts.iter().flatten().filter(|mount| !is_injected_mount(mount));
    problems.extend(mounts.filter_map(|mount| agent_mount(&path, mount)));
    problems
}

fn agent_mount(path: &str, mount: &VolumeMount) -> Option<Refused> {
    let field = format!("{path}.volumeMounts[mountPath={}]", mount.mount_path);
    if is_ours(&mount.name) {
        let problem = format!("volume {:?} is Exeat's", mount.name);
        return Some(refused(
            Reason::PodUnsuitable,
            field,
            problem,
            "remove it; the webhook mounts what an agent needs",
        ));
    }
    let inside = is_within(&mount_path(&mount.mount_path), names::RUN_PATH);
    inside.then(|| {
        let problem = format!("{} is where the sidecar leaves the agent's credentials", names::RUN_PATH);
        refused(Reason::PodUnsuitable, field, problem, "mount it elsewhere")
    })
}

/// Variables and harmless mounts that other admission plugins add to every container are let be.
fn genuine(container: &Container, settings: &SidecarSettings) -> Vec<Refused> {
    let path = format!("spec.initContainers[name={}]", names::SIDECAR);
    let mut problems = Vec::new();
    let image = &settings.image;
    if !settings.is_genuine(container.image.as_deref()) {
        problems.push(refused(
            Reason::PodUnsuitable,
            format_args!("{path}.image"),
            format_args!("the name is the sidecar's, whose image is {image:?}"),
            "remove or rename the container; the webhook adds its own",
        ));
    }
    let foreign = container.volume_mounts.iter().flatten().filter(|mount| !is_ours(&mount.name));
    problems.extend(foreign.filter(|mount| touches_sidecar(&mount.mount_path)).map(|mount| {
        let field = format!("{path}.volumeMounts[mountPath={}]", mount.mount_path);
        refused(Reason::PodUnsuitable, field, "it would replace the sidecar's own files", "remove it")
    }));
    problems
}

/// Whether a mount would stand above, at or below a path that the sidecar lives on.
fn touches_sidecar(path: &str) -> bool {
    let path = mount_path(path);
    let run = (0..MAX_POLICIES).map(names::run_path);
    let mut ours = [BINARY, names::IDENTITY_PATH].map(str::to_owned).into_iter().chain(run);
    ours.any(|ours| is_within(&ours, &path) || is_within(&path, &ours))
}
