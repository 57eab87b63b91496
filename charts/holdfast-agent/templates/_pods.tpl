{{/* Shared by the Pods of both parts. */}}

{{- define "holdfast.image.fields" -}}
image: {{ include "holdfast.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{/* Scheduling; takes the values of a part. */}}
{{- define "holdfast.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "holdfast.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "holdfast.log" -}}
- name: HOLDFAST_LOG
  value: {{ .Values.log.filter | quote }}
{{- if .Values.log.json }}
- name: HOLDFAST_LOG_JSON
  value: "true"
{{- end }}
{{- end -}}

{{/* The listener of /metrics, as environment and as port. */}}
{{- define "holdfast.metricsEnv" -}}
{{- if .Values.metrics.enabled }}
- name: HOLDFAST_METRICS_LISTEN
  value: 0.0.0.0:{{ .Values.metrics.port }}
{{- end }}
{{- end -}}

{{- define "holdfast.metricsPort" -}}
{{- if .Values.metrics.enabled }}
- name: metrics
  containerPort: {{ .Values.metrics.port }}
{{- end }}
{{- end -}}

{{/* The environment of the cluster duties, in either kind of Pod. */}}
{{- define "holdfast.clusterEnv" -}}
- name: HOLDFAST_ROLE
  value: {{ ternary "both" "cluster" .Values.cluster.inDaemonSet }}
- name: HOLDFAST_IN_CLUSTER
  value: "true"
- name: HOLDFAST_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: HOLDFAST_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: HOLDFAST_AGGREGATOR
  value: {{ .Values.aggregator.url | quote }}
{{- if include "holdfast.joinSecret" . }}
- name: HOLDFAST_JOIN_TOKEN_FILE
  value: /run/holdfast/join/token
{{- end }}
{{- if .Values.node.enabled }}
- name: HOLDFAST_RELAY_LISTEN
  value: 0.0.0.0:{{ .Values.relay.port }}
- name: HOLDFAST_NODE_SERVICE_ACCOUNT
  value: {{ include "holdfast.nodeNamespace" . }}/{{ include "holdfast.nodeAccount" . }}
- name: HOLDFAST_SCAN_EVERY_SECONDS
  value: {{ .Values.windows.scanEverySeconds | int | quote }}
- name: HOLDFAST_UNUSED_AFTER_SECONDS
  value: {{ .Values.windows.unusedAfterSeconds | int | quote }}
- name: HOLDFAST_IDLE_AFTER_SECONDS
  value: {{ .Values.windows.idleAfterSeconds | int | quote }}
{{- end }}
{{- end -}}

{{- define "holdfast.clusterPorts" -}}
ports:
  - name: health
    containerPort: 8473
  {{- if .Values.node.enabled }}
  - name: relay
    containerPort: {{ .Values.relay.port }}
  {{- end }}
  {{- with include "holdfast.metricsPort" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
# The standby is Ready too, while it waits to lead. Only the leader listens on the relay's port.
livenessProbe:
  httpGet:
    path: /healthz
    port: health
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{- define "holdfast.joinMount" -}}
- name: join
  mountPath: /run/holdfast/join
  readOnly: true
{{- end -}}

{{- define "holdfast.joinVolume" -}}
- name: join
  secret:
    secretName: {{ include "holdfast.joinSecret" . }}
    # The token may be deleted after use: the certificate is in the Secret that the replicas share.
    optional: true
{{- end -}}
