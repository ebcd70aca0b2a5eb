{{/* Every object is named after the release; the longest suffix must still fit the 63 characters of a Service. */}}
{{- define "trading-engine.name" -}}
{{- if gt (len .Release.Name) 45 }}
{{- fail (printf "the release name %q has %d characters, at most 45 leave room for -fix-gateway and -migrate-contract" .Release.Name (len .Release.Name)) }}
{{- end }}
{{- .Release.Name }}
{{- end }}

{{/* The pods of the four services; a migration's are none of them. */}}
{{- define "trading-engine.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The short digest that names this release in labels. */}}
{{- define "trading-engine.release" -}}
{{- .Values.openbell.release | default (.Values.image.digest | trimPrefix "sha256:" | trunc 12) }}
{{- end }}

{{- define "trading-engine.labels" -}}
{{ include "trading-engine.selectorLabels" . }}
{{ include "trading-engine.commonLabels" . }}
{{- end }}

{{- define "trading-engine.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
openbell.dev/environment: {{ .Values.openbell.environment | quote }}
openbell.dev/slot: {{ .Values.openbell.slot | quote }}
openbell.dev/release: {{ include "trading-engine.release" . | quote }}
{{- with .Values.openbell.rollout }}
openbell.dev/rollout: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Stays the same between versions of the chart, for a label that changes makes new pods. */}}
{{- define "trading-engine.chartLabel" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "trading-engine.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "trading-engine.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* The image of a service: its own where it has one. Takes the root and the service's values. */}}
{{- define "trading-engine.image" -}}
{{- $own := .service.image | default dict -}}
{{ $own.repository | default .root.Values.image.repository }}@{{ $own.digest | default .root.Values.image.digest }}
{{- end }}

{{- define "trading-engine.databaseUrl" -}}
{{- $database := .Values.database -}}
postgresql://{{ $database.host }}:{{ $database.port }}/{{ $database.name }}?sslmode={{ $database.sslMode }}
{{- end }}

{{/* What is no secret, as environment variables; the ConfigMap's data. */}}
{{- define "trading-engine.config" -}}
DATABASE_URL: {{ include "trading-engine.databaseUrl" . | quote }}
VALKEY_URL: {{ printf "%s://%s:%v" (ternary "rediss" "redis" .Values.valkey.tls) .Values.valkey.host .Values.valkey.port | quote }}
OPENBELL_ENVIRONMENT: {{ .Values.openbell.environment | quote }}
OPENBELL_SLOT: {{ .Values.openbell.slot | quote }}
OPENBELL_RELEASE: {{ include "trading-engine.release" . | quote }}
{{- range $name, $value := .Values.config }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* The login of the database: the driver reads it beside the URL, so nothing in it has to be escaped. */}}
{{- define "trading-engine.databaseLogin" -}}
- name: PGUSER
  valueFrom:
    secretKeyRef: {name: {{ .Values.database.existingSecret }}, key: {{ .Values.database.secretKeys.username }}}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .Values.database.existingSecret }}, key: {{ .Values.database.secretKeys.password }}}
{{- if .Values.database.caConfigMap.name }}
- name: PGSSLROOTCERT
  value: /etc/trading-engine/database/ca.pem
{{- end }}
{{- end }}

{{- define "trading-engine.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with .Values.database.caConfigMap }}
{{- if .name }}
- name: database-ca
  configMap:
    name: {{ .name }}
    items: [{key: {{ .key }}, path: ca.pem}]
{{- end }}
{{- end }}
{{- end }}

{{- define "trading-engine.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.database.caConfigMap.name }}
- name: database-ca
  mountPath: /etc/trading-engine/database
  readOnly: true
{{- end }}
{{- end }}

{{- define "trading-engine.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "trading-engine.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where pods may run, and from where their images may be pulled. */}}
{{- define "trading-engine.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
