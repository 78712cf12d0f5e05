{{- define "model-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 50 characters, so that the suffixes of the children fit into a Service's 63. */ -}}
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
A registry that the user adds has only the keys that were written, hence the dig.
*/ -}}

{{- /* The Secret with the operator's credentials for one registry; empty where it has none. */ -}}
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

{{- /* What a schema can't say in words that help. */ -}}
{{- define "model-operator.validate" -}}
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
{{- fail (printf "registries.%s.credentials: username and password belong together; one of them is missing" $name) -}}
{{- end -}}
{{- $ca := default dict $registry.ca -}}
{{- if and $ca.configMap $ca.secret -}}
{{- fail (printf "registries.%s.ca: set configMap or secret, not both" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The operator's configuration file, every key written out so that it can be read in the cluster. */ -}}
{{- define "model-operator.config" -}}
registries:
{{- range $name, $registry := .Values.registries }}
{{- $scope := dict "root" $ "name" $name "registry" $registry }}
  {{ $name }}:
    url: {{ $registry.url | quote }}
    podUrl: {{ $registry.podUrl | default "" | quote }}
    credentialsDir: {{ ternary (include "model-operator.credentialsDir" $scope) "" (ne (include "model-operator.credentialsSecret" $scope) "") | quote }}
    caFile: {{ ternary (printf "%s/ca.crt" (include "model-operator.caDir" $scope)) "" (eq (include "model-operator.hasCa" $scope) "true") | quote }}
    podCredentials:
      secret: {{ dig "podCredentials" "secret" "" $registry | quote }}
    podCa:
      configMap: {{ dig "podCa" "configMap" "" $registry | quote }}
{{- end }}
pollSeconds: {{ .Values.pollSeconds }}
images:
  server: {{ default (printf "model-operator.io/server:%s" .Chart.AppVersion) .Values.images.server | quote }}
  fetch: {{ .Values.images.fetch | quote }}
maxConcurrentRollouts: {{ .Values.maxConcurrentRollouts }}
workers: {{ .Values.workers }}
watchNamespaces: {{ toJson .Values.watchNamespaces }}
metricsPort: {{ .Values.metricsPort }}
logLevel: {{ .Values.logLevel }}
{{- end -}}
