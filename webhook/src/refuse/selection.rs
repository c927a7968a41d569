//! Which containers are agents, of which policies, and whether the sidecar's ports are free.

use exeat_crds::names;
use exeat_crds::pod_policies::Group;
use exeat_crds::reason::{Reason, Refused};
use k8s_openapi::api::core::v1::PodSpec;

use crate::annotations::Asked;
use crate::message::{nearest, refused};
use crate::pod::others;

pub(super) fn check(spec: &PodSpec, asked: &Asked) -> Vec<Refused> {
    let mut problems = misspelt(spec, asked);
    let groups: Vec<Option<usize>> = others(spec).map(|placed| asked.group_of(&placed.container.name)).collect();
    if groups.iter().all(Option::is_none) {
        problems.push(refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::SKIP_CONTAINERS),
            "no container is left that would get credentials",
            format_args!("leave the agent's container out of it, or remove {}", names::POLICY),
        ));
    } else if !groups.contains(&Some(0)) {
        problems.push(refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::POLICY),
            "no container is left that would use its policies: each has its own, or is skipped",
            format_args!(
                "write there what one of them needs, and remove the annotation {}<container> of that one",
                names::CONTAINER_POLICY_PREFIX
            ),
        ));
    }
    problems.extend(asked.groups.iter().filter_map(|group| own(spec, asked, group)));
    problems.extend((0..asked.groups.len().max(1)).flat_map(|number| port(spec, asked.port_of(number))));
    problems
}

/// Policies of a container that is not there would be a session that nobody uses, with a port and a secret for whoever takes its name.
fn own(spec: &PodSpec, asked: &Asked, group: &Group) -> Option<Refused> {
    let container = group.container.as_deref()?;
    let names: Vec<&str> = others(spec).map(|placed| placed.container.name.as_str()).collect();
    let (problem, fix) = if !names.contains(&container) {
        let fix = match nearest(container, names.iter().copied()) {
            Some(meant) => format!("did you mean {}{meant}?", names::CONTAINER_POLICY_PREFIX),
            None => format!("remove it; the pod's containers are {}", names.join(", ")),
        };
        (format!("the pod has no container {container:?} that could have policies"), fix)
    } else if asked.skip.contains(container) {
        (format!("{container:?} is in {} too", names::SKIP_CONTAINERS), "remove one of them".to_owned())
    } else {
        return None;
    };
    Some(refused(Reason::AnnotationInvalid, format_args!("annotation {}", group.annotation()), problem, fix))
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
