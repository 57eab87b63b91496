{{/* Names, labels and security contexts. */}}

{{- define "holdfast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "holdfast.fullname" -}}
{{- $name := include "holdfast.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Selector labels, which an upgrade cannot change. */}}
{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ include "holdfast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: holdfast
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "holdfast.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end -}}

{{- define "holdfast.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "holdfast.containerSecurity" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* With cluster.inDaemonSet everything is in the release's namespace: a Pod can't mount another namespace's Secret. */}}
{{- define "holdfast.nodeNamespace" -}}
{{- ternary .Release.Namespace .Values.node.namespace .Values.cluster.inDaemonSet -}}
{{- end -}}

{{/* The ServiceAccount of the node Pods: without rights, unless they have the cluster duties too. */}}
{{- define "holdfast.nodeAccount" -}}
{{- include "holdfast.fullname" . -}}{{- if not .Values.cluster.inDaemonSet -}}-node{{- end -}}
{{- end -}}

{{/* The Pods in which a relay may listen. */}}
{{- define "holdfast.relayComponent" -}}
{{- ternary "node" "cluster" .Values.cluster.inDaemonSet -}}
{{- end -}}

{{- define "holdfast.relayUrl" -}}
{{- default (printf "https://%s-relay.%s.svc:%v" (include "holdfast.fullname" .) .Release.Namespace .Values.relay.port) .Values.relay.url -}}
{{- end -}}

{{- define "holdfast.joinSecret" -}}
{{- if .Values.joinToken.existingSecret -}}
{{- .Values.joinToken.existingSecret -}}
{{- else if .Values.joinToken.value -}}
{{- include "holdfast.fullname" . }}-join
{{- end -}}
{{- end -}}

{{/* Port of the aggregator's address, 443 by default. */}}
{{- define "holdfast.aggregatorPort" -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" (trimSuffix "/" .Values.aggregator.url)) | default "443" -}}
{{- end -}}

{{/* Fails on values that are missing or contradict each other. */}}
{{- define "holdfast.check" -}}
{{- if not .Values.aggregator.url -}}
{{- fail "aggregator.url is not set. `holdfast cluster add NAME --helm` prints the commands with everything that is needed." -}}
{{- end -}}
{{- if and .Values.joinToken.existingSecret .Values.joinToken.value -}}
{{- fail "joinToken.existingSecret and joinToken.value are both set: set only one." -}}
{{- end -}}
{{- if and .Values.cluster.inDaemonSet (not .Values.node.enabled) -}}
{{- fail "cluster.inDaemonSet=true puts the cluster duties into the node Pods, but node.enabled=false has none." -}}
{{- end -}}
{{- if and .Values.node.enabled (not .Values.cluster.inDaemonSet) (eq .Values.node.namespace .Release.Namespace) -}}
{{- fail (printf "node.namespace is the release's own namespace %s. The node part needs the level privileged, the cluster duties keep restricted: use two namespaces." .Release.Namespace) -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.metrics.enabled) -}}
{{- fail "serviceMonitor.enabled=true has nothing to scrape: set metrics.enabled=true as well." -}}
{{- end -}}
{{- if and .Values.node.enabled (not .Values.aggregator.rootFingerprint) -}}
{{- fail "aggregator.rootFingerprint is not set: nodes could not verify the relay. `holdfast cluster add NAME --helm` prints it." -}}
{{- end -}}
{{- end -}}

{{/* Peers and ports of the NetworkPolicies. */}}
{{- define "holdfast.nodePeer" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ include "holdfast.nodeNamespace" . }}
  podSelector:
    matchLabels:
      {{- include "holdfast.selector" . | nindent 6 }}
      app.kubernetes.io/component: node
{{- end -}}

{{- define "holdfast.metricsIngress" -}}
{{- if .Values.metrics.enabled }}
- ports:
    - port: metrics
  {{- with .Values.metrics.namespaces }}
  from:
    {{- range . }}
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ . }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "holdfast.dnsEgress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{- define "holdfast.relayEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Release.Namespace }}
      podSelector:
        matchLabels:
          {{- include "holdfast.selector" . | nindent 10 }}
          app.kubernetes.io/component: {{ include "holdfast.relayComponent" . }}
  ports:
    - port: relay
{{- end -}}
