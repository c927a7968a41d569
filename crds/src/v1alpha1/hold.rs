use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// While it exists no session that it matches is opened. What is open already is ended by revocation, not by a hold.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[kube(
    group = "exeat.dev",
    version = "v1alpha1",
    kind = "CredentialHold",
    plural = "credentialholds",
    shortname = "chold",
    category = "exeat",
    derive = "PartialEq",
    doc = "Holds new sessions off: the second half of a kill switch. Deleting it lets them open again.",
    validation = Rule::new("self.spec == oldSelf.spec").message("a hold is immutable: delete it and create another"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "In", type_ = "string", json_path = ".spec.namespace"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload.name"),
    printcolumn(name = "Pod", type_ = "string", json_path = ".spec.pod"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.provider), has(self.__namespace__), has(self.policy), has(self.workload), has(self.serviceAccount), has(self.pod)].exists(x, x)").message("name at least one of provider, namespace, policy, workload, serviceAccount, pod"),
    validation = Rule::new("has(self.__namespace__) || !(has(self.policy) || has(self.workload) || has(self.serviceAccount) || has(self.pod))").message("policy, workload, serviceAccount and pod go with namespace")
)]
pub struct CredentialHoldSpec {
    /// Sessions of this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub provider: Option<String>,
    /// Sessions in this namespace. All fields that are set must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Sessions under this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub policy: Option<String>,
    /// Sessions of pods of this workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadName>,
    /// Sessions of pods that run as this service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account: Option<String>,
    /// Sessions of the pod of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pod: Option<String>,
    /// Why, for those who are held off.
    #[schemars(length(min = 1, max = 512))]
    pub reason: String,
}

/// A workload by its name: the Deployment or CronJob above, or what made the pod itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadName {
    /// Kind, for example Deployment.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
