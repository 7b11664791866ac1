{{/*
What the policies of admission.yaml have in common. Those that take a text take the CEL expression that they are about.
*/}}

{{/* Whether an object is of a resource: by its label, or by its owner. */}}
{{- define "speculator-operator.admission.ofAResource" -}}
('speculators.dev/name' in {{ . }}.metadata.?labels.orValue({}) ||
{{ . }}.metadata.?ownerReferences.orValue([]).exists(owner, owner.apiVersion.startsWith('speculators.dev/')))
{{- end -}}

{{/*
The repository of an image in full, as container runtimes read it: without tag and digest, and with the registry that is meant where none
is named. Source: splitDockerDomain in github.com/distribution/reference. (index.docker.io, an alias of docker.io, stays, and no rule
can name it.)
*/}}
{{- define "speculator-operator.admission.repository" -}}
[{{ . }}.find('^([^/@]*/)*[^/:@]+')].map(name,
!name.contains('/') ? 'docker.io/library/' + name :
name.matches('^docker[.]io/[^/]+$') ? name.replace('docker.io/', 'docker.io/library/') :
name.matches('^(localhost|[^/]*[.:A-Z][^/]*)/') ? name :
'docker.io/' + name)[0]
{{- end -}}

{{/*
Variables: what is used, by full name, and the prefixes that a rule allows. Each prefix ends with one slash, and is compared with what has
one too, so that whole segments are compared.
*/}}
{{- define "speculator-operator.admission.allowed" -}}
{{- $models := list -}}
{{- range .models -}}
{{- $models = append $models (ternary . (printf "hf://%s" .) (contains "://" .)) -}}
{{- end -}}
- name: repositories
  expression: >-
    variables.images.map(image,
    {{- include "speculator-operator.admission.repository" "image" | nindent 4 }})
- name: references
  expression: >-
    variables.models.map(model, model.startsWith('oci://') ? 'oci://' +
    {{- include "speculator-operator.admission.repository" "model.substring(6)" | nindent 4 }} :
    (model.contains('://') ? model : 'hf://' + model).split('@')[0])
- name: allowedImages
  expression: {{ include "speculator-operator.admission.prefixes" (.images | default list) | quote }}
- name: allowedModels
  expression: {{ include "speculator-operator.admission.prefixes" $models | quote }}
- name: refused
  expression: >-
    variables.references.filter(reference,
    !variables.allowedModels.exists(prefix, (reference + '/').startsWith(prefix)))
{{- end -}}

{{- define "speculator-operator.admission.prefixes" -}}
{{- $prefixes := list -}}
{{- range . -}}
{{- $prefixes = append $prefixes (printf "%s/" (trimSuffix "/" .)) -}}
{{- end -}}
{{- toJson $prefixes -}}
{{- end -}}

{{/*
The accelerators in a map of resources, such as a container's limits. Whatever nodes hand out by number counts, under whichever name, but
for what the rule doesn't count.
*/}}
{{- define "speculator-operator.admission.gpus" -}}
[dyn({{ . }})].map(limits, limits.filter(name,
name.contains('/') && !variables.uncounted.exists(kind, name == kind || (kind.endsWith('/') && name.startsWith(kind)))
).map(name, quantity(string(limits[name])).asInteger()).sum())[0]
{{- end -}}

{{- define "speculator-operator.admission.gpusOfPod" -}}
(dyn({{ . }}.spec.containers) + dyn({{ . }}.spec).?initContainers.orValue([])).map(container,
{{ include "speculator-operator.admission.gpus" "container.?resources.?limits.orValue({})" }}).sum()
{{- end -}}

{{/* By the resource's fields: what its arguments say is known once it is resolved. */}}
{{- define "speculator-operator.admission.gpusOfResource" -}}
{{ . }}.?parallelism.?tensor.orValue(1) * {{ . }}.?parallelism.?pipeline.orValue(1) +
{{ include "speculator-operator.admission.gpus" (printf "%s.?resources.?limits.orValue({})" .) }}
{{- end -}}

{{/*
The pods that are counted: the replicas, and what a rollout adds to them, but for one pod. Takes the CEL expressions replicas, strategy and
surge.
*/}}
{{- define "speculator-operator.admission.pods" -}}
[{{ .replicas }}].map(replicas, replicas == 0 || {{ .strategy }} == 'Recreate' ? replicas :
replicas + [string({{ .surge }})].map(surge, [1, surge.endsWith('%') ?
(replicas * int(surge.replace('%', '')) + 99) / 100 : int(surge)].max())[0] - 1)[0]
{{- end -}}

{{- define "speculator-operator.admission.podsOfResource" -}}
{{- include "speculator-operator.admission.pods" (dict
  "replicas" (printf "%[1]s.?suspend.orValue(false) ? 0 : %[1]s.?replicas.orValue(1)" .)
  "strategy" (printf "%s.?rollout.?strategy.orValue('RollingUpdate')" .)
  "surge" (printf "%s.?rollout.?maxSurge.orValue(1)" .)) -}}
{{- end -}}

{{- define "speculator-operator.admission.podsOfDeployment" -}}
{{- include "speculator-operator.admission.pods" (dict
  "replicas" (printf "dyn(%s).?replicas.orValue(1)" .)
  "strategy" (printf "dyn(%s).?strategy.?type.orValue('RollingUpdate')" .)
  "surge" (printf "dyn(%s).?strategy.?rollingUpdate.?maxSurge.orValue('25%%')" .)) -}}
{{- end -}}

{{/* What a rule says of one kind of objects (about), whose policy has the variables that this takes. */}}
{{- define "speculator-operator.admission.validations" -}}
{{- $named := ne .about "deployments" -}}
{{- $otherwise := ", or have admission.rules of the operator's installation changed" -}}
{{- with .rule -}}
{{- if and $named (hasKey . "images") }}
# A repository that is well formed has no ".." by which it could lead out of a prefix.
- expression: >-
    variables.repositories.all(repository, repository.matches('^[^/]+(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)+$') &&
    variables.allowedImages.exists(prefix, (repository + '/').startsWith(prefix)))
  messageExpression: >-
    'rule {{ .name }} does not allow the engine image ' + variables.repositories.join(', ') +
    {{ printf ": set spec.engine.image to one below %s%s" (join ", " .images | default "(none is allowed)") $otherwise | toJson }}
{{- end }}
{{- if and $named (hasKey . "models") }}
- expression: variables.refused.size() == 0
  messageExpression: >-
    'rule {{ .name }} does not allow the model ' + variables.refused.join(', ') +
    {{ printf ": name one below %s (spec.verifier.uri, where the checkpoint names its verifier)%s"
      (join ", " .models | default "(none is allowed)") $otherwise | toJson }}
{{- end }}
{{- if hasKey . "gpusPerPod" }}
- expression: variables.gpus <= {{ int64 .gpusPerPod }} || variables.gpus <= variables.gpusBefore
  messageExpression: >-
    'rule {{ .name }} allows {{ int64 .gpusPerPod }} GPUs for a pod, not ' + string(variables.gpus) +
    {{ printf ": lower spec.parallelism, or the flags that mirror it, and the devices in spec.resources.limits%s" $otherwise | toJson }}
{{- end }}
{{- if hasKey . "gpusPerResource" }}
- expression: >-
    variables.pods * variables.gpus <= {{ int64 .gpusPerResource }} ||
    variables.pods * variables.gpus <= variables.podsBefore * variables.gpusBefore
  messageExpression: >-
    'rule {{ .name }} allows {{ int64 .gpusPerResource }} GPUs for all pods of a resource, not ' +
    string(variables.pods * variables.gpus) + ' (' + string(variables.pods) + ' pods of ' + string(variables.gpus) +
    {{ printf ", of which a rollout may add all but one): lower spec.replicas, spec.rollout.maxSurge or spec.parallelism%s" $otherwise | toJson }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "speculator-operator.admission.binding" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .policy }}
  labels:
    {{- include "speculator-operator.labels" .chart | nindent 4 }}
spec:
  policyName: {{ .policy }}
  validationActions: {{ .rule.actions | default (list "Deny") | toJson }}
  matchResources:
    namespaceSelector:
      {{- toYaml (.rule.namespaceSelector | default dict) | nindent 6 }}
{{- end -}}
