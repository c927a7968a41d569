//! `explain`: gate by gate, why a pod gets its credentials or does not. Reading ([`gather`]) and judging ([`judge`]) are apart: what is judged is
//! [`facts`] alone, so that each mistake is a test.

mod alone;
pub mod config;
pub mod egress;
pub mod facts;
mod find;
#[cfg(test)]
mod fixtures;
pub mod gate;
pub mod gather;
pub mod judge;
pub mod maker;
pub mod people;
pub mod sidecar;
pub mod startup;
pub mod target;
pub mod usage;

pub use facts::Facts;
pub use gate::{Gate, Verdict};

use crate::client::Cluster;
use crate::clock;
use crate::error::{Error, Exit};
use crate::output::Out;
use clap::Args;
use exeat_crds::names;
use exeat_crds::text::strip_hidden;
use kube::ResourceExt;

/// Arguments of `explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// pod, deployment, job, cronjob, statefulset or daemonset; KIND/NAME is welcome too.
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// Its name.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Would this call be allowed? As the provider writes it: s3:GetObject, "get pods".
    #[arg(long, value_name = "ACTION", requires = "resource")]
    pub action: Option<String>,
    /// On what.
    #[arg(long, value_name = "RESOURCE", requires = "action")]
    pub resource: Option<String>,
    /// The container that is asked about, where it is not every one.
    #[arg(long, short = 'c', value_name = "NAME")]
    pub container: Option<String>,
}

/// `explain`.
///
/// # Errors
/// What is explained does not exist, or the API server's.
pub async fn run(cluster: &Cluster, args: &ExplainArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    let (kind, name) = target::parse(&args.kind, args.name.as_deref())?;
    let (whole, mut all) = gather::gather(cluster, kind, &name, args.container.as_deref()).await?;
    let several = all.iter().any(|facts| facts.alone);
    let (mut gates, mut text, mut unread) = (Vec::new(), String::new(), None);
    if let Some(first) = all.first().filter(|_| several) {
        gates = config::pod(&whole, &all);
        text = format!("{}\n\n{}\n", heading(kind, first), gate::render(&gates, out.paint));
    }
    for facts in &mut all {
        facts.call = args.action.clone().zip(args.resource.clone());
        let policy = Some(facts.pod.annotations().get(names::POLICY).cloned().unwrap_or_default()).filter(|_| several);
        let judged = match judge::judge(facts, clock::now()) {
            // The call of one kind of provider can't be read by another's policy.
            Err(error @ Error::Usage(_)) if several && facts.call.take().is_some() => {
                unread = Some(error);
                judge::judge(facts, clock::now())?
            }
            judged => judged?,
        };
        let title = policy.as_ref().map_or_else(|| heading(kind, facts), |policy| of_policy(policy));
        text += &format!("{title}\n\n{}", gate::render(&judged, out.paint));
        gates.extend(judged.into_iter().map(|gate| Gate { policy: policy.clone(), ..gate }));
    }
    if let Some(error) = unread.filter(|_| all.iter().all(|facts| facts.call.is_none())) {
        return Err(error);
    }
    if out.is_data() {
        out.data(&gates)?;
    } else {
        out.text(&text)?;
    }
    let closed = gates.iter().any(|gate| gate.verdict == Verdict::Fail);
    Ok(if closed { Exit::Denied } else { Exit::Done })
}

/// The name is what somebody wrote in a template, which nobody has judged.
fn of_policy(name: &str) -> String {
    format!("Policy {}", strip_hidden(name))
}

/// What is explained; of a workload also which of its pods.
fn heading(kind: target::Kind, facts: &Facts) -> String {
    let about = match facts.pod.metadata.name.as_deref() {
        _ if kind == target::Kind::Pod => String::new(),
        Some(pod) if facts.live => format!(", by its newest pod {pod}"),
        _ => match &facts.before {
            Some(pod) => format!(", by its template: its next pod is refused. Pod {pod} of before is there"),
            None => ", by its template: it has no pod".to_owned(),
        },
    };
    format!("{} {} in namespace {}{about}", facts.kind, facts.name, facts.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policys_name_is_one_line_without_escapes() {
        assert_eq!(of_policy("reader"), "Policy reader");
        let title = of_policy("reader\u{1b}[2K\n\nEvery gate is open.\r\u{202e}");
        assert!(!title.contains(|c: char| c.is_control() || c == '\u{202e}'), "{title:?}");
    }
}
