//! Which containers are agents, and whether the sidecar's port is free.

use exeat_crds::names;
use exeat_crds::reason::{Reason, Refused};
use k8s_openapi::api::core::v1::PodSpec;

use crate::annotations::Asked;
use crate::message::{nearest, refused};
use crate::pod::others;

pub(super) fn check(spec: &PodSpec, asked: &Asked) -> Vec<Refused> {
    let mut problems = misspelt(spec, asked);
    if !others(spec).any(|placed| !asked.skip.contains(&placed.container.name)) {
        problems.push(refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::SKIP_CONTAINERS),
            "no container is left that would get credentials",
            format_args!("leave the agent's container out of it, or remove {}", names::POLICY),
        ));
    }
    problems.extend(port(spec, asked.port));
    problems
}

/// A container that another admission plugin will add may be named too, so only what looks like a slip is refused.
fn misspelt(spec: &PodSpec, asked: &Asked) -> Vec<Refused> {
    let containers: Vec<&str> = others(spec).map(|placed| placed.container.name.as_str()).collect();
    let lists = [(names::SKIP_CONTAINERS, &asked.skip), (names::ALLOW_ENV_FROM, &asked.allow_env_from)];
    let listed = lists.into_iter().flat_map(|(key, list)| list.iter().map(move |name| (key, name)));
    listed
        .filter(|(_, name)| !containers.contains(&name.as_str()))
        .filter_map(|(key, name)| {
            let meant = nearest(name, containers.iter().copied())?;
            Some(refused(
                Reason::AnnotationInvalid,
                format_args!("annotation {key}"),
                format_args!("the pod has no container {name:?}"),
                format_args!("did you mean {meant:?}?"),
            ))
        })
        .collect()
}

fn port(spec: &PodSpec, port: u16) -> Vec<Refused> {
    others(spec)
        .flat_map(|placed| placed.container.ports.iter().flatten().map(move |declared| (placed, declared)))
        .filter(|(_, declared)| declared.container_port == i32::from(port))
        .filter(|(_, declared)| declared.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
        .map(|(placed, _)| {
            refused(
                Reason::PodUnsuitable,
                format_args!("{}.ports[containerPort={port}]", placed.path()),
                "the sidecar listens on this port",
                format_args!("use another, or move the sidecar with annotation {}", names::PORT),
            )
        })
        .collect()
}
