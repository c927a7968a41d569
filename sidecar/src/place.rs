//! Where a group of the pod's containers is served: a port, a secret and a folder of its own, which the others do not see.

use std::path::Path;

use zeroize::Zeroizing;

use crate::args::{Policy, Provider};
use crate::files::RunDir;
use crate::secret::random_hex;

/// A group's place.
#[derive(Debug)]
pub struct Place {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// The memory volume shared with the group.
    pub run_dir: RunDir,
    /// The loopback secret that is written there.
    pub loopback: Zeroizing<String>,
    /// The policies that are served here. Empty: the pod's only one.
    policies: Vec<String>,
}

impl Place {
    /// The places of these groups, which are served at these ports. The pod's only policy has one, too.
    pub fn of(groups: &[Vec<Policy>], ports: &[u16], run_dir: &Path) -> Vec<Self> {
        let place = |(number, port): (usize, &u16)| Self {
            port: *port,
            run_dir: RunDir::of_group(run_dir, number, *port),
            loopback: random_hex(),
            policies: groups.get(number).into_iter().flatten().map(|(_, name)| name.clone()).collect(),
        };
        ports.iter().enumerate().map(place).collect()
    }

    /// Whether this policy is served here.
    pub fn serves(&self, policy: Option<&str>) -> bool {
        policy.is_none_or(|policy| self.policies.iter().any(|own| own == policy))
    }
}

/// All policies of the groups, each once, in their order.
pub fn policies(groups: &[Vec<Policy>]) -> Vec<(Provider, &str)> {
    let mut all: Vec<(Provider, &str)> = Vec::new();
    for (provider, name) in groups.iter().flatten() {
        if !all.iter().any(|(_, known)| known == name) {
            all.push((*provider, name));
        }
    }
    all
}
