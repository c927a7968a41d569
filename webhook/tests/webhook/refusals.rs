//! Every refusal that does not depend on the provider's kind: its reason, the field that it names, and the fix.

use exeat_webhook::message;

use crate::common::{inject_pod, inject_under, pod_with, policy};

/// What is changed in a good pod, and what the one problem must say.
type Case = (&'static str, &'static str, &'static [&'static str]);

fn check(cases: &[Case]) {
    for (changes, reason, needles) in cases {
        let problems = inject_pod(&pod_with(changes)).expect_err(changes);
        let message = message::all(&problems);
        assert_eq!(problems.len(), 1, "{changes}: {message}");
        assert_eq!(problems[0].reason.as_str(), *reason, "{changes}: {message}");
        for needle in *needles {
            assert!(message.contains(needle), "{changes}: {needle:?} is not in {message:?}");
        }
    }
}

#[test]
fn a_good_pod_is_not_refused() {
    inject_pod(&pod_with("{}")).unwrap();
}

#[test]
fn what_opens_the_pod_to_the_node() {
    check(&[
        ("spec: {hostNetwork: true}", "PodUnsuitable", &["spec.hostNetwork", "loopback", "remove it"]),
        ("spec: {hostPID: true}", "PodUnsuitable", &["spec.hostPID", "remove it"]),
        ("spec: {hostIPC: true}", "PodUnsuitable", &["spec.hostIPC", "remove it"]),
        ("spec: {shareProcessNamespace: true}", "PodUnsuitable", &["spec.shareProcessNamespace", "remove it"]),
        (
            "spec: {volumes: [{name: root, hostPath: {path: /}}]}",
            "PodUnsuitable",
            &["spec.volumes[name=root].hostPath", "use another kind of volume"],
        ),
        ("spec: {os: {name: windows}}", "PodUnsuitable", &["spec.os.name", "Linux nodes"]),
        (
            "spec: {nodeSelector: {kubernetes.io/os: windows}}",
            "PodUnsuitable",
            &["spec.nodeSelector[kubernetes.io/os]", "Linux nodes"],
        ),
    ]);
}

#[test]
fn what_lets_a_container_out_of_its_confinement() {
    check(&[
        (
            "spec: {containers: [{name: app, securityContext: {privileged: true}}]}",
            "PodUnsuitable",
            &["spec.containers[name=app].securityContext.privileged", "remove it"],
        ),
        (
            "spec: {initContainers: [{name: setup, securityContext: {privileged: true}}]}",
            "PodUnsuitable",
            &["spec.initContainers[name=setup].securityContext.privileged"],
        ),
        (
            "spec: {securityContext: {runAsUser: 60911}}",
            "PodUnsuitable",
            &["spec.securityContext.runAsUser", "60911 is the user of the sidecar", "sidecar.uid"],
        ),
        (
            "spec: {containers: [{name: app, securityContext: {runAsUser: 60911}}]}",
            "PodUnsuitable",
            &["spec.containers[name=app].securityContext.runAsUser", "choose another user"],
        ),
    ]);
    for capability in ["ALL", "SYS_PTRACE", "CAP_SYS_ADMIN", "net_admin", "NET_RAW"] {
        let changes = format!(
            "spec: {{containers: [{{name: app, securityContext: {{capabilities: {{add: [{capability}]}}}}}}]}}"
        );
        let problems = inject_pod(&pod_with(&changes)).expect_err(capability);
        let message = message::all(&problems);
        assert!(message.contains("spec.containers[name=app].securityContext.capabilities.add"), "{message}");
        assert!(message.contains(capability) && message.ends_with("remove it"), "{message}");
    }
    inject_pod(&pod_with(
        "spec: {containers: [{name: app, securityContext: {capabilities: {add: [NET_BIND_SERVICE]}}}]}",
    ))
    .unwrap();
    inject_pod(&pod_with(
        "spec: {securityContext: {runAsUser: 60911}, containers: [{name: app, securityContext: {runAsUser: 1000}}]}",
    ))
    .expect("no container runs as the pod's user");
}

#[test]
fn what_is_ours() {
    check(&[
        (
            "spec: {containers: [{name: exeat-sidecar, image: mine}]}",
            "PodUnsuitable",
            &["spec.containers[name=exeat-sidecar]", "rename yours"],
        ),
        (
            "spec: {initContainers: [{name: exeat-sidecar, image: mine}]}",
            "PodUnsuitable",
            &[
                "spec.initContainers[name=exeat-sidecar].image",
                "registry.example/exeat-sidecar:1",
                "rename the container",
            ],
        ),
        (
            "spec: {initContainers: [{name: exeat-sidecar, image: 'registry.example/exeat-sidecar:1'}, {name: exeat-sidecar, image: mine}]}",
            "PodUnsuitable",
            &["spec.initContainers[name=exeat-sidecar]", "2 times", "the webhook adds its own"],
        ),
        (
            "spec: {volumes: [{name: exeat-run, emptyDir: {medium: Memory}}, {name: exeat-run, emptyDir: {medium: Memory}}]}",
            "PodUnsuitable",
            &["spec.volumes[name=exeat-run]", "2 times", "remove it"],
        ),
        (
            "spec: {initContainers: [{name: exeat-sidecar, image: 'registry.example/exeat-sidecar:1', volumeMounts: [{name: x, mountPath: /exeat-sidecar}]}]}",
            "PodUnsuitable",
            &["spec.initContainers[name=exeat-sidecar].volumeMounts[mountPath=/exeat-sidecar]", "remove it"],
        ),
        (
            "spec: {volumes: [{name: exeat-id, emptyDir: {}}]}",
            "PodUnsuitable",
            &["spec.volumes[name=exeat-id]", "rename yours"],
        ),
        (
            "spec: {volumes: [{name: exeat-id, projected: {defaultMode: 256, sources: [{serviceAccountToken: {audience: exeat.dev, path: token}}]}}]}",
            "PodUnsuitable",
            &["spec.volumes[name=exeat-id]", "rename yours"],
        ),
        (
            "spec: {volumes: [{name: exeat-run, emptyDir: {}}]}",
            "PodUnsuitable",
            &["spec.volumes[name=exeat-run]", "rename yours"],
        ),
        (
            "spec: {volumes: [{name: mine, projected: {sources: [{serviceAccountToken: {audience: exeat.dev, path: t}}]}}]}",
            "PodUnsuitable",
            &["spec.volumes[name=mine].projected", "exeat.dev", "choose another audience"],
        ),
        (
            "spec: {containers: [{name: app, volumeMounts: [{name: exeat-id, mountPath: /id}]}]}",
            "PodUnsuitable",
            &["spec.containers[name=app].volumeMounts[mountPath=/id]", "exeat-id", "remove it"],
        ),
        (
            "spec: {containers: [{name: app, volumeMounts: [{name: exeat-run, mountPath: /var/run/exeat}]}]}",
            "PodUnsuitable",
            &["spec.containers[name=app].volumeMounts[mountPath=/var/run/exeat]", "exeat-run", "remove it"],
        ),
        (
            "spec: {containers: [{name: app, volumeMounts: [{name: data, mountPath: /var/run/exeat/kubernetes}]}]}",
            "PodUnsuitable",
            &["volumeMounts[mountPath=/var/run/exeat/kubernetes]", "mount it elsewhere"],
        ),
        (
            "spec: {containers: [{name: app, volumeMounts: [{name: data, mountPath: /var/run/x/../exeat}]}]}",
            "PodUnsuitable",
            &["volumeMounts[mountPath=/var/run/x/../exeat]", "mount it elsewhere"],
        ),
        (
            "spec: {containers: [{name: app, ports: [{containerPort: 9911}]}]}",
            "PodUnsuitable",
            &["spec.containers[name=app].ports[containerPort=9911]", "annotation exeat.dev/port"],
        ),
    ]);
}

#[test]
fn annotations_that_cannot_be_read() {
    check(&[
        (
            "metadata: {annotations: {exeat.dev/policy: ''}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/policy", "name the AgentCredentialPolicy"],
        ),
        (
            "metadata: {annotations: {exeat.dev/policy: ../secrets/x}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/policy", "../secrets/x", "name the AgentCredentialPolicy"],
        ),
        (
            "metadata: {annotations: {exeat.dev/polcy: report-writer}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/polcy", "did you mean exeat.dev/policy?"],
        ),
        (
            "metadata: {annotations: {exeat.dev/budget: '5'}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/budget", "known are exeat.dev/policy"],
        ),
        (
            "metadata: {annotations: {exeat.dev/policy: 'report-writer,report-cleaner'}}",
            "AnnotationInvalid",
            &[
                "annotation exeat.dev/policy",
                "\"report-writer\" and \"report-cleaner\"",
                "kind aws",
                "a pod of its own",
            ],
        ),
        (
            "metadata: {annotations: {exeat.dev/policy: 'report-writer,pod-reader,report-writer'}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/policy", "\"report-writer\" twice"],
        ),
        (
            "metadata: {annotations: {exeat.dev/policy: 'report-writer,,pod-reader'}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/policy", "\"\" can't be the name"],
        ),
        (
            "metadata: {annotations: {exeat.dev/policy: 'report-writer,pod-reader', exeat.dev/allow: 's3:GetObject on arn:aws:s3:::reports/*'}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/allow", "several policies", "a pod for each"],
        ),
        ("metadata: {annotations: {exeat.dev/policy: 'report-writer,missing'}}", "PolicyNotFound", &["\"missing\""]),
        (
            "metadata: {annotations: {policy.exeat.dev/app: report-writer}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/policy", "no container is left"],
        ),
        (
            "metadata: {annotations: {exeat.dev/wait: Approval}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/wait", "\"Approval\"", "write decision", "approval"],
        ),
        (
            "metadata: {annotations: {exeat.dev/port: '80'}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/port", "1024 to 65535"],
        ),
        (
            "metadata: {annotations: {exeat.dev/port: http}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/port", "\"http\""],
        ),
        (
            "metadata: {annotations: {exeat.dev/aws-token: env}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/aws-token", "write Env"],
        ),
        (
            "metadata: {annotations: {exeat.dev/policy: pod-reader, exeat.dev/aws-token: Env}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/aws-token", "not AWS", "remove it"],
        ),
        (
            "metadata: {annotations: {exeat.dev/skip-containers: app}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/skip-containers", "no container is left"],
        ),
        (
            "{metadata: {annotations: {exeat.dev/skip-containers: backpu}}, spec: {containers: [{name: app}, {name: backup}]}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/skip-containers", "did you mean \"backup\"?"],
        ),
        (
            "metadata: {annotations: {exeat.dev/duration: soon}}",
            "AnnotationInvalid",
            &["annotation exeat.dev/duration", "write it like 30m"],
        ),
        (
            "metadata: {annotations: {exeat.dev/duration: 9h}}",
            "DurationTooLong",
            &["annotation exeat.dev/duration", "8h", "shorten"],
        ),
        (
            "metadata: {annotations: {exeat.dev/duration: 5m}}",
            "DurationInvalid",
            &["annotation exeat.dev/duration", "least of 16m"],
        ),
        (
            "metadata: {annotations: {exeat.dev/allow: 's3:GetObject'}}",
            "AnnotationInvalid",
            &["exeat.dev/allow", "one statement a line"],
        ),
        (
            "metadata: {annotations: {exeat.dev/allow: 's3:PutObject on arn:aws:s3:::reports/*'}}",
            "NarrowingTooWide",
            &["exeat.dev/allow", "s3:PutObject"],
        ),
    ]);
}

#[test]
fn policies_that_cannot_serve_the_pod() {
    check(&[
        (
            "metadata: {annotations: {exeat.dev/policy: none}}",
            "PolicyNotFound",
            &["annotation exeat.dev/policy", "\"none\" in namespace \"agents\"", "kubectl get agentcredentialpolicies"],
        ),
        (
            "spec: {serviceAccountName: other}",
            "PodNotCovered",
            &["\"report-writer\"", "\"other\"", "spec.subjects.serviceAccounts"],
        ),
        ("spec: {serviceAccountName: null}", "PodNotCovered", &["\"default\"", "spec.serviceAccountName"]),
    ]);
}

#[test]
fn policies_that_do_not_resolve() {
    for (changes, reason, needles) in [
        ("spec: {providerRef: {name: gone}}", "ProviderNotFound", ["spec.providerRef.name", "\"gone\""]),
        ("metadata: {namespace: elsewhere}", "NamespaceNotServed", ["\"elsewhere\"", "spec.bindings[].namespaces"]),
        (
            "spec: {principal: 'arn:aws:iam::123456789012:role/admin'}",
            "PrincipalNotAllowed",
            ["spec.principal", "role/admin"],
        ),
        ("spec: {budget: {limit: '5.00'}}", "NotImplemented", ["spec.budget", "remove it"]),
        (
            "spec: {allow: [{actions: ['ec2:RunInstances'], resources: ['*']}]}",
            "ActionNotAllowed",
            ["spec.allow[0].actions[0]", "ec2:RunInstances"],
        ),
        (
            "spec: {subjects: {podSelector: {matchLabels: {team: a}}}}",
            "PodNotCovered",
            ["podSelector", "add the labels"],
        ),
    ] {
        let mut changed = serde_json::to_value(policy("report-writer").unwrap()).unwrap();
        json_patch::merge(&mut changed, &crate::common::yaml(changes));
        let changed = serde_json::from_value(changed).unwrap();
        let problems = inject_under(&pod_with("{}"), Some(&changed)).expect_err(changes);
        let message = message::all(&problems);
        assert_eq!(problems[0].reason.as_str(), reason, "{changes}: {message}");
        for needle in needles.into_iter().chain(["report-writer"]) {
            assert!(message.contains(needle), "{changes}: {needle:?} is not in {message:?}");
        }
    }
}

#[test]
fn a_policy_need_not_be_ready_when_its_pods_are_created() {
    let policy = policy("report-writer").unwrap();
    assert!(policy.status.is_none(), "nobody has probed it yet");
    inject_under(&pod_with("{}"), Some(&policy)).unwrap();
}

#[test]
fn all_problems_come_at_once() {
    let problems = inject_pod(&pod_with(
        "{metadata: {annotations: {exeat.dev/port: '1'}}, spec: {hostNetwork: true, hostPID: true, serviceAccountName: other, containers: [{name: app, env: [{name: AWS_PROFILE, value: x}]}]}}",
    ))
    .unwrap_err();
    let message = message::all(&problems);
    assert_eq!(problems.len(), 5, "{message}");
    assert!(message.starts_with("5 problems: (1) ") && !message.contains('\n'), "{message}");
}
