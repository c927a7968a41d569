{{/* The binding that puts a policy of the same name in force: {root, name}. */}}
{{- define "exeat.policyBinding" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "exeat.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny, Audit]
{{- end }}

{{/* A write that changes nothing passes, whoever repeats it. */}}
{{- define "exeat.notNoop" -}}
- name: not-noop
  expression: >-
    object == null || oldObject == null || object.spec != oldObject.spec || object.?status != oldObject.?status ||
    object.metadata.?finalizers != oldObject.metadata.?finalizers || object.metadata.?labels != oldObject.metadata.?labels ||
    object.metadata.?ownerReferences != oldObject.metadata.?ownerReferences
{{- end }}

{{/* Parts of Kubernetes that delete what has no owner or no namespace any more. */}}
{{- define "exeat.clusterVariable" -}}
- name: cluster
  expression: >-
    request.userInfo.username in ['system:serviceaccount:kube-system:namespace-controller',
    'system:serviceaccount:kube-system:generic-garbage-collector', 'system:kube-controller-manager']
{{- end }}

{{/* Names of the fields directly below status that a write changes. */}}
{{- define "exeat.changedStatus" -}}
- name: after
  expression: "object == null || !has(object.status) ? {} : object.status"
- name: before
  expression: "oldObject == null || !has(oldObject.status) ? {} : oldObject.status"
- name: changed
  expression: >-
    variables.after.map(k, k).filter(k, !(k in variables.before) || variables.after[k] != variables.before[k]) +
    variables.before.map(k, k).filter(k, !(k in variables.after))
{{- end }}

{{/* What the API server would add. Two that apply the same manifest then never disagree on this field, which has one owner as a whole. */}}
{{- define "exeat.matchDefaults" -}}
matchPolicy: Equivalent
objectSelector: {}
{{- end }}
