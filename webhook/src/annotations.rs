//! What a pod asks for in its `exeat.dev/` annotations, as far as no policy is needed to read it.

use std::collections::{BTreeMap, BTreeSet};

use exeat_crds::names;
use exeat_crds::pod_policies::{self, Group, MAX_POLICIES};
use exeat_crds::reason::{Reason, Refused};

use crate::message::{nearest, refused};
use crate::pod::is_name;

/// Annotations that a pod may carry.
const KNOWN: [&str; 10] = [
    names::POLICY,
    names::DURATION,
    names::ALLOW,
    names::JUSTIFICATION,
    names::PORT,
    names::WAIT,
    names::AWS_TOKEN,
    names::GCP_METADATA_HOST,
    names::SKIP_CONTAINERS,
    names::ALLOW_ENV_FROM,
];

/// The port of Google's metadata server.
const METADATA_PORT: u16 = 80;

/// How AWS SDKs are handed the loopback secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AwsToken {
    /// By the name of a file, which needs an SDK of 2024 or later.
    #[default]
    File,
    /// By an environment variable with the pod's UID, for older SDKs.
    Env,
}

/// What the pod's start-up waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Until the first credential is held, or it is known why there is none: also that people are asked.
    #[default]
    Decision,
    /// Until those people have decided.
    Approval,
}

/// What the annotations say.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Which containers have which policies; none where an annotation can't be read.
    pub groups: Vec<Group>,
    /// The sidecar's loopback port, for the first group. Those after it have the ports after it.
    pub port: u16,
    /// How AWS SDKs get the loopback secret; absent where the pod does not say.
    pub aws_token: Option<AwsToken>,
    /// What start-up waits for.
    pub wait: Wait,
    /// Whether the sidecar is Google's metadata server by its own name, on port 80.
    pub metadata_host: bool,
    /// Containers that get no credentials.
    pub skip: BTreeSet<String>,
    /// Containers whose `envFrom` the author has checked.
    pub allow_env_from: BTreeSet<String>,
}

impl Asked {
    /// The number of the group that a container is of; none where it gets no credentials.
    pub fn group_of(&self, container: &str) -> Option<usize> {
        let own = |group: &Group| group.container.as_deref() == Some(container);
        let number = self.groups.iter().position(own).unwrap_or_default();
        (!self.skip.contains(container)).then_some(number)
    }

    /// The policies of all groups, each once.
    pub fn policies(&self) -> Vec<String> {
        pod_policies::union(&self.groups)
    }

    /// The port at which the sidecar serves a group.
    pub fn port_of(&self, number: usize) -> u16 {
        u16::try_from(number).ok().and_then(|number| self.port.checked_add(number)).unwrap_or(self.port)
    }
}

/// Whether any annotation of ours is there, so that the pod is ours to judge.
pub fn has_any(annotations: &BTreeMap<String, String>) -> bool {
    annotations.keys().any(|key| names::is_pod_annotation(key))
}

/// Reads the annotations. What can't be read is left at its default and reported.
pub fn read(annotations: &BTreeMap<String, String>) -> (Asked, Vec<Refused>) {
    let mut problems = Vec::new();
    for key in annotations.keys().filter(|key| names::is_pod_annotation(key)) {
        problems.extend(check_key(key));
    }
    let value = |key: &str| annotations.get(key).map(|value| value.trim());
    let groups = read_groups(annotations).map_err(|wrong| problems.extend(wrong)).unwrap_or_default();
    let port = value(names::PORT).map_or(Ok(names::DEFAULT_PORT), read_port).unwrap_or_else(|problem| {
        problems.push(problem);
        names::DEFAULT_PORT
    });
    let aws_token = value(names::AWS_TOKEN).and_then(|value| match value {
        "Env" => Some(AwsToken::Env),
        "File" => Some(AwsToken::File),
        other => {
            problems.push(refused(
                Reason::AnnotationInvalid,
                format_args!("annotation {}", names::AWS_TOKEN),
                format_args!("{other:?} is not known"),
                "write Env for SDKs that are too old for a token file, or remove it",
            ));
            None
        }
    });
    problems.extend(last_port(port, &groups));
    let by_name = value(names::GCP_METADATA_HOST).map_or(Ok(false), |value| read_metadata_host(value, annotations));
    let metadata_host = by_name.unwrap_or_else(|problem| {
        problems.push(problem);
        false
    });
    let wait = value(names::WAIT).map_or(Ok(Wait::default()), read_wait).unwrap_or_else(|problem| {
        problems.push(problem);
        Wait::default()
    });
    let list = |key: &str| -> BTreeSet<String> {
        let names = value(key).unwrap_or_default().split(',').map(str::trim);
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let asked = Asked {
        groups,
        port: if metadata_host { METADATA_PORT } else { port },
        aws_token,
        wait,
        metadata_host,
        skip: list(names::SKIP_CONTAINERS),
        allow_env_from: list(names::ALLOW_ENV_FROM),
    };
    (asked, problems)
}

/// The groups, where each list of policies can be read and there are not too many.
fn read_groups(annotations: &BTreeMap<String, String>) -> Result<Vec<Group>, Vec<Refused>> {
    let groups = pod_policies::groups(annotations);
    let keys = groups.iter().map(Group::annotation);
    let mut problems: Vec<Refused> = keys
        .filter_map(|key| check_policies(&key, annotations.get(&key).map_or("", |written| written.trim())))
        .collect();
    let (policies, containers) = (pod_policies::union(&groups).len(), groups.len() - 1);
    if problems.is_empty() && (policies > MAX_POLICIES || containers >= MAX_POLICIES) {
        problems.push(refused(
            Reason::AnnotationInvalid,
            format_args!("annotations {} and {}<container>", names::POLICY, names::CONTAINER_POLICY_PREFIX),
            format_args!("they name {policies} policies, {containers} containers have their own"),
            format_args!(
                "a pod has {MAX_POLICIES} policies at most, and {} containers with policies of their own: use several pods",
                MAX_POLICIES - 1
            ),
        ));
    }
    if problems.is_empty() { Ok(groups) } else { Err(problems) }
}

fn check_policies(key: &str, written: &str) -> Option<Refused> {
    let names: Vec<&str> = written.split(',').map(str::trim).collect();
    let twice = names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(*name));
    let problem = if written.is_empty() {
        "it is missing or empty".to_owned()
    } else if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
        format!("{wrong:?} can't be the name of a policy")
    } else if let Some(twice) = twice {
        format!("it names {twice:?} twice")
    } else if names.len() > MAX_POLICIES {
        format!("it names more than {MAX_POLICIES} policies")
    } else {
        return None;
    };
    let fix = if key == names::POLICY {
        "name the AgentCredentialPolicy that the pod's containers use (several, each of another kind of provider: by commas; those of a single \
         container instead: annotation policy.exeat.dev/<container>), or remove every exeat.dev/ and policy.exeat.dev/ annotation"
    } else {
        "name the AgentCredentialPolicy that this container uses instead of the pod's (several, each of another kind of provider: by commas), or \
         remove it"
    };
    Some(refused(Reason::AnnotationInvalid, format_args!("annotation {key}"), problem, fix))
}

/// Each group has a port of its own.
fn last_port(port: u16, groups: &[Group]) -> Option<Refused> {
    let further = groups.len().saturating_sub(1);
    let fits = u16::try_from(further).is_ok_and(|further| port.checked_add(further).is_some());
    (!fits).then(|| {
        refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::PORT),
            format_args!(
                "after {port} there are no {further} ports more, and each container with policies of its own has one"
            ),
            "choose a smaller one",
        )
    })
}

fn check_key(key: &str) -> Option<Refused> {
    let field = format!("annotation {key}");
    // Whatever its author wrote there is replaced.
    if KNOWN.contains(&key) || key == names::REQUESTER || key.starts_with(names::CONTAINER_POLICY_PREFIX) {
        return None;
    }
    let fix = match nearest(key, KNOWN) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("remove it; known are {}", KNOWN.join(", ")),
    };
    Some(refused(Reason::AnnotationInvalid, field, "there is no such annotation", fix))
}

fn read_wait(value: &str) -> Result<Wait, Refused> {
    match value {
        "decision" => Ok(Wait::Decision),
        "approval" => Ok(Wait::Approval),
        other => Err(refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::WAIT),
            format_args!("{other:?} is not known"),
            "write decision (start once it is known that people are asked), approval (start once they have decided), or remove it",
        )),
    }
}

/// Google's metadata server is on one port only.
fn read_metadata_host(value: &str, annotations: &BTreeMap<String, String>) -> Result<bool, Refused> {
    match value {
        "false" => Ok(false),
        "true" if annotations.contains_key(names::PORT) => Err(refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::PORT),
            format_args!("with {} the port is {METADATA_PORT}", names::GCP_METADATA_HOST),
            "remove one of them",
        )),
        "true" => Ok(true),
        other => Err(refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::GCP_METADATA_HOST),
            format_args!("{other:?} is not known"),
            "write true for clients that call metadata.google.internal whatever they are told, or remove it",
        )),
    }
}

/// The sidecar runs without the right to bind ports below 1024.
fn read_port(value: &str) -> Result<u16, Refused> {
    value.parse().ok().filter(|port| *port >= 1024).ok_or_else(|| {
        refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::PORT),
            format_args!("{value:?} is no port that the sidecar can listen on"),
            format_args!("write a number from 1024 to 65535, or remove it for {}", names::DEFAULT_PORT),
        )
    })
}
