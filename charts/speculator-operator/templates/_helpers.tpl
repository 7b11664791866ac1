{{- define "speculator-operator.fullname" -}}
{{- $name := contains "speculator-operator" .Release.Name | ternary .Release.Name (printf "%s-speculator-operator" .Release.Name) -}}
{{- $name = .Values.fullnameOverride | default $name | trunc 52 | trimAll "-" -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" $name) -}}
{{- fail (printf "%s can't be the name of a Service (a letter comes first, and no dot is in it): set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- /* Fails where two of a list's items have the same: takes the value's path (of), its items and the key. */ -}}
{{- define "speculator-operator.distinct" -}}
{{- $seen := list -}}
{{- range .items -}}
{{- $one := get . $.key -}}
{{- if has $one $seen -}}
{{- fail (printf "%s has the %s %s twice" $.of $.key $one) -}}
{{- end -}}
{{- $seen = append $seen $one -}}
{{- end -}}
{{- end -}}

{{- /* extraVolumes, if they go together with each other, and with what the operator has there already. */ -}}
{{- define "speculator-operator.extraVolumes" -}}
{{- $volumes := list -}}
{{- range .Values.extraVolumes -}}
{{- $path := clean .mountPath -}}
{{- $below := printf "%s/" (trimSuffix "/" $path) -}}
{{- if eq .name "operator-tmp" -}}
{{- fail "extraVolumes has the name operator-tmp, which is the chart's: give the volume another" -}}
{{- else if or (hasPrefix $below "/tmp/") (hasPrefix $below "/opt/operator/") (hasPrefix "/opt/operator/" $below) -}}
{{- fail (printf "extraVolumes has the mountPath %s, which would hide the operator's /tmp or /opt/operator: mount it elsewhere" $path) -}}
{{- else if hasPrefix "/var/run/secrets/kubernetes.io/serviceaccount/" $below -}}
{{- fail (printf "extraVolumes has the mountPath %s, where the operator's token belongs: mount it elsewhere" $path) -}}
{{- end -}}
{{- $volumes = append $volumes (mergeOverwrite dict . (dict "mountPath" $path)) -}}
{{- end -}}
{{- include "speculator-operator.distinct" (dict "of" "extraVolumes" "key" "name" "items" $volumes) -}}
{{- include "speculator-operator.distinct" (dict "of" "extraVolumes" "key" "mountPath" "items" $volumes) -}}
{{- toJson $volumes -}}
{{- end -}}

{{- define "speculator-operator.selectorLabels" -}}
app.kubernetes.io/name: speculator-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "speculator-operator.labels" -}}
{{ include "speculator-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* The chart's labels and those that others look for, which count where both have one. */ -}}
{{- define "speculator-operator.labelsBy" -}}
{{- merge dict (index . 1 | default dict) (include "speculator-operator.labels" (index . 0) | fromYaml) | toYaml -}}
{{- end -}}

{{- define "speculator-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "speculator-operator.fullname" .) -}}
{{- end -}}

{{- define "speculator-operator.image" -}}
{{- if and (eq .Values.image.tag "latest") (not .Values.image.digest) -}}
{{- fail "image.tag is latest, which moves: name a version's tag, or a digest (image.digest)" -}}
{{- end -}}
{{- $reference := printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- if .Values.image.digest -}}
{{- $reference = printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- end -}}
{{- $reference -}}
{{- end -}}

{{- define "speculator-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "speculator-operator.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}

{{- /* The settings as variables: `hfEndpoint` is SPECULATOR_HF_ENDPOINT. What is empty is left to the operator. It reaches the
       pods' metrics whatever else does. */ -}}
{{- define "speculator-operator.settings" -}}
{{- $image := .Values.settings.resolverImage | default (include "speculator-operator.image" .) -}}
{{- $namespace := dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) -}}
{{- $pods := dict "matchLabels" (include "speculator-operator.selectorLabels" . | fromYaml) -}}
{{- $peers := prepend (.Values.settings.networkPolicyPeers | default list) (dict "namespaceSelector" $namespace "podSelector" $pods) -}}
{{- range $name, $value := merge (dict "resolverImage" $image "networkPolicyPeers" $peers) .Values.settings -}}
{{- $text := toString $value -}}
{{- if kindIs "slice" $value -}}
{{- $text = kindIs "map" (first $value) | ternary (toJson $value) (join "," $value) -}}
{{- end -}}
{{- if $text }}
- name: SPECULATOR_{{ regexReplaceAll "([A-Z])" $name "_${1}" | upper }}
  value: {{ $text | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The port of settings.hfEndpoint, as a list: none where that is empty. */ -}}
{{- define "speculator-operator.hubPort" -}}
{{- $ports := list -}}
{{- with .Values.settings.hfEndpoint -}}
{{- $default := hasPrefix "http:" . | ternary "80" "443" -}}
{{- $ports = list (regexFind ":[0-9]+$" (urlParse .).host | trimPrefix ":" | default $default | int) -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{- /* The namespace of the resource that `helm test` makes: one that the operator watches. */ -}}
{{- define "speculator-operator.testNamespace" -}}
{{- $watched := .Values.watchNamespaces | default (list .Release.Namespace) -}}
{{- has .Release.Namespace $watched | ternary .Release.Namespace (first $watched) -}}
{{- end -}}
