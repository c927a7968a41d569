//! Any annotations on a pod that is good otherwise.

use std::collections::BTreeMap;

use exeat_crds::names;
use exeat_webhook::message;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{class, inject, must, refusal};
use crate::engine::Target;
use crate::installation::{Installation, POD_TOKENS};

pub(super) struct Annotations {
    installation: Installation,
}

impl Annotations {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self { installation: Installation::read()? })
    }
}

impl Target for Annotations {
    fn name(&self) -> &'static str {
        "annotations"
    }

    fn tokens(&self) -> &'static [&'static str] {
        POD_TOKENS
    }

    /// The pod is refused for its annotations alone, so each reason must name the one that is to be mended, or the policy.
    fn judge(&mut self, input: &[u8]) -> Result<String, String> {
        let Ok(annotations) = serde_json::from_slice::<BTreeMap<String, String>>(input) else {
            return Ok("no annotations".to_owned());
        };
        let pod = json!({
            "metadata": {"name": "reporter", "namespace": "agents", "annotations": annotations},
            "spec": {"serviceAccountName": "report-agent", "containers": [{"name": "app"}, {"name": "helper"}]},
        });
        let pod: Pod = serde_json::from_value(pod).map_err(|error| error.to_string())?;
        let problems = match self.installation.inject(&pod) {
            Ok(injected) => {
                inject::guarded(&injected)?;
                must(annotations.contains_key(names::POLICY), || "injected without a policy".to_owned())?;
                let used = annotations.keys().map(String::as_str).filter(|key| ours(key));
                return Ok(format!("injected {}", class(used)));
            }
            Err(problems) => problems,
        };
        let named = |message: &str| {
            message.contains(names::POLICY) || annotations.keys().any(|key| ours(key) && message.contains(key.as_str()))
        };
        for problem in &problems {
            let told = problem.to_string();
            must(named(&told), || format!("{told:?} names no annotation"))?;
        }
        let told = message::all(&problems);
        must(!told.chars().any(char::is_control), || format!("{told:?} is not one line"))?;
        Ok(refusal(&told))
    }
}

fn ours(key: &str) -> bool {
    key.starts_with(names::ANNOTATION_PREFIX) || key.starts_with(names::CONTAINER_POLICY_PREFIX)
}
