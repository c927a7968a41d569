{{/* Where controller and issuer write their audit records. */}}
{{- define "exeat.auditEnv" -}}
{{- with .Values.audit }}
- name: EXEAT_AUDIT_SINK
  value: {{ .sink | quote }}
- name: EXEAT_AUDIT_SPOOL_RECORDS
  value: {{ .spool.records | int64 | quote }}
- name: EXEAT_AUDIT_SPOOL_BYTES
  value: {{ .spool.bytes | int64 | quote }}
{{- if eq .sink "file" }}
- name: EXEAT_AUDIT_FOLDER
  value: /var/log/exeat
- name: EXEAT_AUDIT_FILE_BYTES
  value: {{ .file.maxBytes | int64 | quote }}
- name: EXEAT_AUDIT_FILE_KEEP
  value: {{ .file.keep | int64 | quote }}
{{- else if eq .sink "http" }}
- name: EXEAT_AUDIT_URL
  value: {{ .http.url | quote }}
{{- if .http.tokenSecret.name }}
- name: EXEAT_AUDIT_TOKEN_FILE
  value: /var/run/secrets/exeat/audit/token
{{- end }}
{{- if .http.caConfigMap.name }}
- name: EXEAT_AUDIT_CA
  value: /etc/exeat/audit-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "exeat.auditMounts" -}}
{{- with .Values.audit }}
{{- if eq .sink "file" }}
- name: audit
  mountPath: /var/log/exeat
{{- else if eq .sink "http" }}
{{- if .http.tokenSecret.name }}
- name: audit-token
  mountPath: /var/run/secrets/exeat/audit
  readOnly: true
{{- end }}
{{- if .http.caConfigMap.name }}
- name: audit-ca
  mountPath: /etc/exeat/audit-ca
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "exeat.auditVolumes" -}}
{{- with .Values.audit }}
{{- if eq .sink "file" }}
- name: audit
  {{- toYaml .file.volume | nindent 2 }}
{{- else if eq .sink "http" }}
{{- with .http.tokenSecret }}{{ if .name }}
- name: audit-token
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .key | quote }}, path: token}]
{{- end }}{{ end }}
{{- with .http.caConfigMap }}{{ if .name }}
- name: audit-ca
  configMap:
    name: {{ .name }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- end }}{{ end }}
{{- end }}
{{- end }}
{{- end -}}
