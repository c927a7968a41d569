//! What is explained: a pod, or a workload whose pods are.

use crate::error::Error;

/// Kinds that are explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pod.
    Pod,
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A Job.
    Job,
    /// A CronJob.
    CronJob,
}

impl Kind {
    /// As messages write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::Job => "job",
            Self::CronJob => "cronjob",
        }
    }
}

/// Reads `KIND NAME` or `KIND/NAME`.
///
/// # Errors
/// Another kind, or no name.
pub fn parse(kind: &str, name: Option<&str>) -> Result<(Kind, String), Error> {
    let (kind, name) = match (kind.split_once('/'), name) {
        (Some((kind, name)), None) => (kind, name),
        (None, Some(name)) => (kind, name),
        _ => return Err(Error::Usage("write KIND NAME or KIND/NAME, for instance `explain pod agent-1`".to_owned())),
    };
    if name.is_empty() {
        return Err(Error::Usage("the name is empty".to_owned()));
    }
    let found = match kind.to_lowercase().as_str() {
        "pod" | "pods" | "po" => Kind::Pod,
        "deploy" | "deployment" | "deployments" => Kind::Deployment,
        "sts" | "statefulset" | "statefulsets" => Kind::StatefulSet,
        "ds" | "daemonset" | "daemonsets" => Kind::DaemonSet,
        "job" | "jobs" => Kind::Job,
        "cj" | "cronjob" | "cronjobs" => Kind::CronJob,
        other => {
            return Err(Error::Usage(format!(
                "{other:?} is not explained; pod, deployment, statefulset, daemonset, job and cronjob are"
            )));
        }
    };
    Ok((found, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_it_are_read() {
        assert_eq!(parse("deploy", Some("a")).unwrap(), (Kind::Deployment, "a".to_owned()));
        assert_eq!(parse("Pod/a", None).unwrap(), (Kind::Pod, "a".to_owned()));
        for (kind, name) in [("service", Some("a")), ("pod", None), ("pod/", None), ("pod/a", Some("b"))] {
            assert!(parse(kind, name).is_err(), "{kind} {name:?}");
        }
    }
}
