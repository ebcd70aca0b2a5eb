{{/* Labels that find the pods of one service; takes the root and the service's name. They must never change. */}}
{{- define "selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{/* Labels of everything: who it is, by Kubernetes' conventions and for openbell. */}}
{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
openbell.dev/environment: {{ .root.Values.openbell.environment | quote }}
openbell.dev/slot: {{ .root.Values.openbell.slot | quote }}
openbell.dev/release: {{ .root.Values.openbell.release | quote }}
{{- end }}

{{/* Environment variables of a service or a migration: who it is, what is configured, and what Secrets hold. */}}
{{- define "environment" -}}
envFrom:
  {{- range .root.Values.secrets }}
  - secretRef: {name: {{ . }}}
  {{- end }}
env:
  - name: OPENBELL_INSTANCE
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - {name: OPENBELL_SERVICE, value: {{ .name | quote }}}
  - {name: OPENBELL_ENVIRONMENT, value: {{ .root.Values.openbell.environment | quote }}}
  - {name: OPENBELL_SLOT, value: {{ .root.Values.openbell.slot | quote }}}
  - {name: OPENBELL_RELEASE, value: {{ .root.Values.openbell.release | quote }}}
  - {name: OPENBELL_VERSION, value: {{ index .root.Values.annotations "openbell.dev/version" | default "" | quote }}}
  {{- range $name, $value := merge dict .env .root.Values.config }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
{{- end }}

{{/* What a pod may do: nothing but to run as somebody who is not root, and to write to /tmp. */}}
{{- define "pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.user }}
  runAsGroup: {{ .Values.user }}
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
{{- end }}

{{- define "container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- end }}
