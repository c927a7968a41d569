//! The volumes: the identity token for the sidecar alone, and for each group of containers the memory that it shares with the sidecar.

use exeat_crds::names;
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Plan;

/// Name of the token's file.
pub(crate) const TOKEN_PATH: &str = "token";
/// Life of an identity token, seconds; kubelet renews it at four fifths.
const TOKEN_SECONDS: i64 = 3600;
/// Room for a loopback secret, a kubeconfig and a token.
const RUN_SIZE: &str = "1Mi";

/// Puts the volumes at their place or at the end, and takes those back that no group has now.
pub(super) fn place(volumes: &mut Vec<Volume>, plan: &Plan<'_>) {
    let run: Vec<Volume> = plan.routes.iter().map(|route| run(route.number)).collect();
    volumes.retain(|volume| !names::is_run_volume(&volume.name) || run.iter().any(|own| own.name == volume.name));
    for volume in [identity(&plan.settings.audience)].into_iter().chain(run) {
        match volumes.iter_mut().find(|other| other.name == volume.name) {
            Some(other) => overwrite(other, volume),
            None => volumes.push(volume),
        }
    }
}

/// The mode stays as the API server defaults it: any other would lock the sidecar's user out of its token.
fn overwrite(volume: &mut Volume, desired: Volume) {
    let mode = volume.projected.as_ref().and_then(|projected| projected.default_mode);
    *volume = desired;
    if let Some(projected) = &mut volume.projected {
        projected.default_mode = mode;
    }
}

fn identity(audience: &str) -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(audience.to_owned()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: TOKEN_PATH.to_owned(),
    };
    let source = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    Volume {
        name: names::IDENTITY_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource { default_mode: None, sources: Some(vec![source]) }),
        ..Volume::default()
    }
}

fn run(number: usize) -> Volume {
    Volume {
        name: names::run_volume(number),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(Quantity(RUN_SIZE.to_owned())),
        }),
        ..Volume::default()
    }
}
