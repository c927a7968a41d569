//! The way of a group of containers to the sidecar: a port of its own, and a memory volume with a secret of its own.

use exeat_crds::authority;
use exeat_crds::rules::Kind;
use exeat_crds::v1alpha1::Mode;

use super::Named;
use crate::annotations::Asked;

/// What the containers of a group are given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    /// The group's number: that of the pod's own list is 0.
    pub(crate) number: usize,
    /// The annotation that names the group's policies.
    pub(crate) annotation: String,
    /// Kind and name of each of its policies: one of a kind, so that paths and variables say whose they are.
    pub(crate) policies: Vec<(Kind, String)>,
    pub(crate) port: u16,
    pub(crate) region: Option<String>,
    /// Google Cloud: the project that agents are given as their own.
    pub(crate) project: Option<String>,
    /// The kinds whose policies only look on.
    pub(crate) observe: Vec<Kind>,
}

impl Named<'_> {
    /// The kind of its provider, where that can be told.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.provider.and_then(|provider| authority::kind_of(provider).ok())
    }
}

impl Route {
    /// The way of the containers of a group of what the pod asks for.
    pub(super) fn of(number: usize, asked: &Asked, named: &[Named<'_>]) -> Self {
        let Some(group) = asked.groups.get(number) else { return Self::default() };
        let own: Vec<&Named<'_>> =
            group.policies.iter().filter_map(|name| named.iter().find(|named| named.name == name)).collect();
        let observes = |named: &&&Named<'_>| named.policy.is_some_and(|found| found.spec.mode == Mode::Observe);
        Self {
            number,
            annotation: group.annotation(),
            policies: own.iter().filter_map(|named| Some((named.kind()?, named.name.to_owned()))).collect(),
            port: asked.port_of(number),
            region: own.iter().find_map(|named| Some(named.provider?.spec.aws.as_ref()?.region.clone())),
            project: own.iter().find_map(|named| Some(named.provider?.spec.gcp.as_ref()?.project.clone())),
            observe: own.iter().filter(observes).filter_map(|named| named.kind()).collect(),
        }
    }

    /// Whether one of its policies is of this kind.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.policies.iter().any(|(other, _)| *other == kind)
    }
}
