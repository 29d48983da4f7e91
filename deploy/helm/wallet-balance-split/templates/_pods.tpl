{{- define "wallet.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "wallet.labels" -}}
app.kubernetes.io/name: wallet-balance-split
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "wallet.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The settings of all processes. */}}
{{- define "wallet.settings" -}}
{{- if not .Values.settings.WBS_BANK_URL }}{{ fail "settings.WBS_BANK_URL: which bank is to pay?" }}{{ end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* A variable out of the Secret: (dict "root" $ "name" … "key" … "optional" …) */}}
{{- define "wallet.secret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: { name: {{ .root.Values.secretName | quote }}, key: {{ .key | quote }}, optional: {{ .optional | default false }} }
{{- end }}

{{/* No process may become root, keep a capability, or write to its image. */}}
{{- define "wallet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "wallet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}
