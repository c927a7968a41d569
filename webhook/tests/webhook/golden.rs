//! Pods and what becomes of them: `tests/golden/<case>.pod.yaml` and `<case>.injected.yaml`.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::common::{NAMESPACE, OWN_SIDECAR, injected, installation, named_policy, yaml};

/// Each with the person who creates the pod, if one does.
const CASES: [(&str, Option<&str>); 18] = [
    ("aws", None),
    ("aws-already-configured", None),
    ("aws-env-token", None),
    ("aws-init-containers", None),
    ("aws-narrowed", None),
    ("aws-observe", None),
    (OF_OWN_SIDECAR, None),
    ("aws-restricted", None),
    ("aws-skip-containers", None),
    ("aws-waits-for-people", Some("alice")),
    ("azure", None),
    ("containers", None),
    ("gcp", None),
    ("gcp-metadata-host", None),
    ("kubernetes", None),
    ("kubernetes-port", None),
    ("several", None),
    ("vault", None),
];

/// The pod of a namespace whose sidecar is another user's and larger.
const OF_OWN_SIDECAR: &str = "aws-of-a-namespace";

#[test]
fn every_pod_becomes_what_is_expected() {
    let mut wrong = Vec::new();
    for (case, requester) in CASES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let pod: Pod = yaml(&fs::read_to_string(folder.join(format!("{case}.pod.yaml"))).unwrap());
        let settings = installation().of(if case == OF_OWN_SIDECAR { OWN_SIDECAR } else { NAMESPACE });
        let injected = injected(&pod, named_policy(&pod).as_ref(), &settings, requester)
            .unwrap_or_else(|problems| panic!("{case}: {problems:?}"));
        let injected = serde_json::to_value(injected).unwrap();
        let expected = folder.join(format!("{case}.injected.yaml"));
        let found = fs::read_to_string(&expected).map(|text| yaml::<Value>(&text)).unwrap_or_default();
        if found != injected {
            let actual = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{case}.injected.yaml"));
            fs::write(&actual, serde_saphyr::to_string(&injected).unwrap()).unwrap();
            wrong.push(format!("{case}: differs from {}; what came is in {}", expected.display(), actual.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_golden_file_belongs_to_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let strays: Vec<_> =
        files.filter(|file| !CASES.iter().any(|(case, _)| file.split('.').next() == Some(case))).collect();
    assert!(strays.is_empty(), "{strays:?}");
}
