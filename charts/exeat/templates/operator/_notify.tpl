{{/* Whom the controller tells what waits for people. A Secret or ConfigMap that is missing must not keep it from deciding. */}}
{{- define "exeat.notifyEnv" -}}
{{- with .Values.approvals.notify }}
{{- if .enabled }}
- name: EXEAT_NOTIFY_URL_FILE
  value: /var/run/secrets/exeat/notify/url
- name: EXEAT_NOTIFY_FORMAT
  value: {{ .format | quote }}
- name: EXEAT_NOTIFY_INTERVAL
  value: {{ .interval | quote }}
- name: EXEAT_NOTIFY_EVENTS
  value: {{ join "," .events | quote }}
{{- if .caConfigMap.name }}
- name: EXEAT_NOTIFY_CA
  value: /etc/exeat/notify-ca/ca.crt
{{- end }}
{{- if .allowHTTP }}
- name: EXEAT_NOTIFY_ALLOW_HTTP
  value: "true"
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "exeat.notifyMounts" -}}
{{- with .Values.approvals.notify }}
{{- if .enabled }}
- name: notify-url
  mountPath: /var/run/secrets/exeat/notify
  readOnly: true
{{- if .caConfigMap.name }}
- name: notify-ca
  mountPath: /etc/exeat/notify-ca
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "exeat.notifyVolumes" -}}
{{- with .Values.approvals.notify }}
{{- if .enabled }}
- name: notify-url
  secret:
    secretName: {{ .urlSecret.name }}
    items: [{key: {{ .urlSecret.key | quote }}, path: url}]
    optional: true
{{- with .caConfigMap }}{{ if .name }}
- name: notify-ca
  configMap:
    name: {{ .name }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
    optional: true
{{- end }}{{ end }}
{{- end }}
{{- end }}
{{- end -}}
