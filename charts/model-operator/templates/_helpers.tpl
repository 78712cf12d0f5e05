{{- define "model-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 50 characters, so the suffixes of the children fit into a Service's 63. */ -}}
{{- define "model-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "model-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "model-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "model-operator.labels" -}}
{{ include "model-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "model-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "model-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "model-operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /*
The functions below take {root, name, registry}: the chart's context, the registry's name and its values.
A registry that the user adds has only the given keys, hence the dig.
*/ -}}

{{- /* The Secret with the operator's credentials for one registry, or an empty text. */ -}}
{{- define "model-operator.credentialsSecret" -}}
{{- $credentials := default dict .registry.credentials -}}
{{- if $credentials.existingSecret -}}
{{- $credentials.existingSecret -}}
{{- else if or $credentials.username $credentials.token -}}
{{- printf "%s-registry-%s" (include "model-operator.fullname" .root) .name -}}
{{- end -}}
{{- end -}}

{{- define "model-operator.hasCa" -}}
{{- $ca := default dict .registry.ca -}}
{{- if or $ca.configMap $ca.secret -}}true{{- end -}}
{{- end -}}

{{- /* Beside the ConfigMap's directory, not below it: a mount inside a read-only volume can't be made. */ -}}
{{- define "model-operator.credentialsDir" -}}
/var/run/secrets/model-operator.io/credentials/{{ .name }}
{{- end -}}

{{- define "model-operator.caDir" -}}
/var/run/secrets/model-operator.io/ca/{{ .name }}
{{- end -}}

{{- define "model-operator.webhookCertificateDir" -}}
/var/run/secrets/model-operator.io/webhook-tls
{{- end -}}

{{- define "model-operator.webhookSecretDir" -}}
/var/run/secrets/model-operator.io/webhook-secrets
{{- end -}}

{{- /* The ports of the registries' URLs, each once, as a JSON list. */ -}}
{{- define "model-operator.registryPorts" -}}
{{- $ports := list -}}
{{- range .Values.registries -}}
{{- $url := urlParse .url -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $ports = append $ports (int (default (ternary 443 80 (eq $url.scheme "https")) $port)) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{- /* Rules that the schema can't express with a helpful error. */ -}}
{{- define "model-operator.validate" -}}
{{- if and .Values.monitoring.serviceMonitor.enabled (not .Values.metrics.service.enabled) -}}
{{- fail "monitoring.serviceMonitor: needs the Service that it scrapes. Set metrics.service.enabled=true" -}}
{{- end -}}
{{- if .Values.webhooks.enabled -}}
{{- if not .Values.webhooks.secretName -}}
{{- fail "webhooks.secretName: name the Secret that deliveries are signed with, or set webhooks.enabled=false" -}}
{{- end -}}
{{- if eq (int .Values.webhooks.port) (int .Values.metricsPort) -}}
{{- fail "webhooks.port: must differ from metricsPort" -}}
{{- end -}}
{{- end -}}
{{- $election := .Values.leaderElection -}}
{{- if and (gt (int .Values.replicas) 1) (not $election.enabled) -}}
{{- fail "replicas: more than one requires leaderElection.enabled=true, otherwise all of them would act at once" -}}
{{- end -}}
{{- if or (ge (float64 $election.renewSeconds) (float64 $election.leaseSeconds)) (ge (mulf 2 $election.retrySeconds) (float64 $election.renewSeconds)) -}}
{{- fail "leaderElection: renewSeconds must be less than leaseSeconds and more than twice retrySeconds" -}}
{{- end -}}
{{- range $name, $registry := .Values.registries -}}
{{- $credentials := default dict $registry.credentials -}}
{{- $ways := 0 -}}
{{- if $credentials.existingSecret -}}{{- $ways = add1 $ways -}}{{- end -}}
{{- if or $credentials.username $credentials.password -}}{{- $ways = add1 $ways -}}{{- end -}}
{{- if $credentials.token -}}{{- $ways = add1 $ways -}}{{- end -}}
{{- if gt (int $ways) 1 -}}
{{- fail (printf "registries.%s.credentials: set only one of existingSecret, username with password, or token" $name) -}}
{{- end -}}
{{- if ne (empty $credentials.username) (empty $credentials.password) -}}
{{- fail (printf "registries.%s.credentials: username and password belong together. One of them is missing" $name) -}}
{{- end -}}
{{- $ca := default dict $registry.ca -}}
{{- if and $ca.configMap $ca.secret -}}
{{- fail (printf "registries.%s.ca: set configMap or secret, not both" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The operator's configuration file, with every key, so you can read it in the cluster. */ -}}
{{- define "model-operator.config" -}}
registries:
{{- range $name, $registry := .Values.registries }}
{{- $scope := dict "root" $ "name" $name "registry" $registry }}
  {{ $name }}:
    type: {{ $registry.type | default "MLflow" }}
    url: {{ $registry.url | quote }}
    podUrl: {{ $registry.podUrl | default "" | quote }}
    credentialsDir: {{ ternary (include "model-operator.credentialsDir" $scope) "" (ne (include "model-operator.credentialsSecret" $scope) "") | quote }}
    caFile: {{ ternary (printf "%s/ca.crt" (include "model-operator.caDir" $scope)) "" (eq (include "model-operator.hasCa" $scope) "true") | quote }}
    workspace: {{ $registry.workspace | default "" | quote }}
    requestsPerSecond: {{ $registry.requestsPerSecond | default 50 }}
    podCredentials:
      secret: {{ dig "podCredentials" "secret" "" $registry | quote }}
    podCa:
      configMap: {{ dig "podCa" "configMap" "" $registry | quote }}
{{- end }}
inlineRegistries:
  allowedUrls: {{ toJson .Values.inlineRegistries.allowedUrls }}
  secretNames: {{ toJson .Values.inlineRegistries.secretNames }}
pollSeconds: {{ .Values.pollSeconds }}
clusterName: {{ .Values.clusterName | quote }}
images:
  server: {{ default (printf "model-operator.io/server:%s" .Chart.AppVersion) .Values.images.server | quote }}
  fetch: {{ .Values.images.fetch | quote }}
  contents: {{ toJson .Values.images.contents }}
maxConcurrentRollouts: {{ .Values.maxConcurrentRollouts }}
workers: {{ .Values.workers }}
watchNamespaces: {{ toJson .Values.watchNamespaces }}
watchSilenceSeconds: 70
resyncSeconds: {{ .Values.resyncSeconds }}
metricsPort: {{ .Values.metricsPort }}
metricsMaxModelDeployments: {{ int .Values.monitoring.maxModelDeployments }}
logLevel: {{ .Values.logLevel }}
webhooks:
  port: {{ ternary .Values.webhooks.port 0 .Values.webhooks.enabled }}
  certificateDir: {{ ternary (include "model-operator.webhookCertificateDir" .) "" (and .Values.webhooks.enabled (ne .Values.webhooks.tls.secretName "")) | quote }}
  secretDir: {{ ternary (include "model-operator.webhookSecretDir" .) "" .Values.webhooks.enabled | quote }}
  maxAgeSeconds: 300
leaderElection:
  enabled: {{ .Values.leaderElection.enabled }}
  namespace: {{ .Release.Namespace | quote }}
  leaseName: {{ include "model-operator.fullname" . | quote }}
  leaseSeconds: {{ .Values.leaderElection.leaseSeconds }}
  renewSeconds: {{ .Values.leaderElection.renewSeconds }}
  retrySeconds: {{ .Values.leaderElection.retrySeconds }}
{{- end -}}
