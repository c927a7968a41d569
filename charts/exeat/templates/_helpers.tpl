{{/* Labels of every object. */}}
{{- define "exeat.labels" -}}
app.kubernetes.io/name: exeat
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Labels that select the pods of one program: {component}. */}}
{{- define "exeat.selector" -}}
app.kubernetes.io/name: exeat
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* An image in full: {root, image}. A digest wins over a tag. */}}
{{- define "exeat.image" -}}
{{- $registry := .image.registry | default .root.Values.image.registry -}}
{{- $name := .image.repository -}}
{{- with $registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if .image.digest -}}
{{ printf "%s@%s" $name .image.digest }}
{{- else -}}
{{ printf "%s:%s" $name (.image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{- define "exeat.sidecarImage" -}}
{{ include "exeat.image" (dict "root" . "image" .Values.sidecar.image) }}
{{- end }}

{{- define "exeat.issuerURL" -}}
https://exeat-issuer.{{ .Release.Namespace }}.svc:443
{{- end }}

{{/* Amounts of resources as the webhook reads them: cpu=10m,memory=16Mi. */}}
{{- define "exeat.amounts" -}}
{{- $amounts := list }}
{{- range $name, $quantity := . }}{{ $amounts = append $amounts (printf "%s=%v" $name $quantity) }}{{ end }}
{{- join "," $amounts }}
{{- end }}

{{/* Sidecars of single namespaces as the webhook reads them: {"team-a":{"limits":"memory=128Mi","uid":70000}}. */}}
{{- define "exeat.sidecarNamespaces" -}}
{{- $all := dict }}
{{- range $namespace, $own := . }}
{{- $one := dict }}
{{- with $own.uid }}{{ $_ := set $one "uid" (int64 .) }}{{ end }}
{{- range $part, $amounts := $own.resources }}{{ $_ := set $one $part (include "exeat.amounts" $amounts) }}{{ end }}
{{- $_ := set $all $namespace $one }}
{{- end }}
{{- toJson $all }}
{{- end }}

{{/* User name of one of our service accounts, as the API server gives it: {root, account}. */}}
{{- define "exeat.user" -}}
system:serviceaccount:{{ .root.Release.Namespace }}:{{ .account }}
{{- end }}

{{/* Namespaces that the webhook and the pod policies leave alone. */}}
{{- define "exeat.namespaceSelector" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      - kube-system
      - {{ .Release.Namespace }}
      {{- if .Values.kubernetesProvider.enabled }}
      - {{ .Values.kubernetesProvider.grantsNamespace }}
      {{- end }}
{{- end }}

{{/* Settings that all programs share. */}}
{{- define "exeat.env" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: EXEAT_LOG
  value: {{ .Values.logLevel | quote }}
{{- end }}

{{/*
The Deployment of one program: {root, component, values, image, ports, env, annotations, volumes, mounts}. All three differ in
these alone. `env`, `volumes` and `mounts` are YAML text.
*/}}
{{- define "exeat.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: exeat-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "exeat.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  replicas: {{ .values.replicas }}
  revisionHistoryLimit: 3
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels:
      {{- include "exeat.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "exeat.selector" . | nindent 8 }}
        {{- with .values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ .component }}
        {{- with .annotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with .values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: exeat-{{ .component }}
      automountServiceAccountToken: true
      enableServiceLinks: false
      terminationGracePeriodSeconds: 30
      {{- with $root.Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile: {type: RuntimeDefault}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "exeat.selector" . | nindent 14 }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "exeat.image" (dict "root" $root "image" .image) }}
          imagePullPolicy: {{ .image.pullPolicy | default $root.Values.image.pullPolicy }}
          command: [/exeat-{{ .component }}]
          {{- with .values.extraArgs }}
          args:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          env:
            {{- include "exeat.env" $root | nindent 12 }}
            {{- .env | nindent 12 }}
            {{- with .values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            {{- range $name, $port := .ports }}
            - {name: {{ $name }}, containerPort: {{ $port }}, protocol: TCP}
            {{- end }}
          livenessProbe:
            httpGet: {path: /livez, port: health}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: health}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 3
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          {{- with .mounts }}
          volumeMounts:
            {{- . | nindent 12 }}
          {{- end }}
      {{- with .volumes }}
      volumes:
        {{- . | nindent 8 }}
      {{- end }}
{{- if gt (int .values.replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: exeat-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "exeat.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  minAvailable: 1
  selector:
    matchLabels:
      {{- include "exeat.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Annotations of what runs before an uninstall; the argument is its place in the order. */}}
{{- define "exeat.hook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
