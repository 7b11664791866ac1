"""Everything that is rendered, held against the schemas of the oldest and the newest Kubernetes that is meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import chart
from tools.chart import CRD, ROOT
from tools.schemas import NEWEST, OLDEST, RELEASES, Unfit, conform

RENDERED = ROOT / "tests" / "data" / "render"
#: Image volumes are newer than the oldest release; the README says from when models can be in images.
IN_AN_IMAGE = "draft-in-an-image-and-gated-verifier"

VALUES: dict[str, chart.Values] = {
    "defaults": {},
    "some namespaces": {"watchNamespaces": ["team-a", "team-b"]},
    "with the chart's own labels and annotations": {
        "podLabels": {"app.kubernetes.io/name": "theirs"},
        "podAnnotations": {"kubectl.kubernetes.io/default-container": "theirs"},
        "monitoring": {
            part: {"enabled": True, "labels": {"app.kubernetes.io/instance": "theirs"}}
            for part in ("operator", "engines", "rules")
        },
        "dashboard": {"enabled": True, "labels": {"app.kubernetes.io/name": "theirs"}},
    },
    "everything": {
        "image": {"digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": [{"name": "registry"}],
        "userRoles": {"enabled": True},
        "serviceAccount": {"annotations": {"a.example/b": "c"}},
        "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "podLabels": {"a.example/b": "c"},
        "podAnnotations": {"a.example/b": "c"},
        "extraEnv": [
            {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}},
            {"name": "SSL_CERT_FILE", "value": "/etc/ca/ca.crt"},
        ],
        "extraVolumes": [
            {"name": "ca", "configMap": "ca", "mountPath": "/etc/ca"},
            {"name": "more", "secret": "more", "mountPath": "/etc/more"},
        ],
        "networkPolicy": {
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
            "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [{"port": 3128}]}],
        },
        "metricsService": {"annotations": {"prometheus.io/scrape": "true"}},
        "admission": {
            "rules": [
                {
                    "name": "team-a",
                    "namespaceSelector": {"matchLabels": {"team": "a"}},
                    "images": ["docker.io/vllm/vllm-openai", "registry:5000/ml"],
                    "models": ["org", "hf://org/repo", "s3://bucket/path/", "pvc://", "oci://registry.example/ml"],
                    "gpusPerPod": 4,
                    "gpusPerResource": 8,
                    "uncounted": ["rdma/"],
                    "actions": ["Warn", "Audit"],
                },
                {"name": "others", "models": []},
            ]
        },
        "monitoring": {
            "operator": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "30s"},
            "engines": {"enabled": True, "labels": {"release": "prometheus"}, "namespaces": ["team-a"]},
            "rules": {"enabled": True, "labels": {"release": "prometheus"}, "runbookUrl": "https://runbooks.example/a"},
        },
        "dashboard": {"enabled": True, "namespace": "grafana", "annotations": {"grafana_folder": "vLLM"}},
    },
}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("case", VALUES)
def test_the_chart_renders_what_kubernetes_knows(case: str, release: str) -> None:
    conform(chart.text(VALUES[case]), release)


@pytest.mark.parametrize("case", VALUES)
def test_the_chart_renders_nothing_twice(case: str) -> None:
    found = chart.objects(VALUES[case])
    for names in [[chart.placed(it) for it in found], *_names(found)]:
        assert len(names) == len(set(names))


def _names(part: Any) -> Iterator[list[Any]]:
    """What the items of each list are called, or are mounted at."""
    if isinstance(part, list):
        items = [it for it in part if isinstance(it, dict)]
        yield from ([it[key] for it in items if key in it] for key in ("name", "mountPath"))
        yield from (names for it in part for names in _names(it))
    if isinstance(part, dict):
        yield from (names for it in part.values() for names in _names(it))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("folder", ["config/rbac", "config/operator"])
def test_the_plain_manifests_are_what_kubernetes_knows(folder: str, release: str) -> None:
    conform("---\n".join(path.read_text() for path in chart.files(ROOT / folder)), release)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("case", sorted(path.name for path in RENDERED.iterdir()))
def test_the_operator_renders_what_kubernetes_knows(case: str, release: str) -> None:
    manifests = (RENDERED / case / "expected.yaml").read_text()
    if (case, release) == (IN_AN_IMAGE, OLDEST.version):
        with pytest.raises(Unfit, match="'/spec/template/spec/volumes/3': additional properties 'image' not allowed"):
            conform(manifests, release)
    else:
        conform(manifests, release)


@pytest.mark.parametrize("path", chart.files(ROOT / "config" / "samples"), ids=lambda path: path.stem)
def test_the_samples_are_what_the_definition_says(path: Path) -> None:
    conform(path.read_text(), NEWEST, definitions=[CRD])


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("path", chart.files(ROOT / "config" / "autoscalers"), ids=lambda path: path.stem)
def test_the_autoscalers_are_what_kubernetes_and_keda_know(path: Path, release: str) -> None:
    conform(path.read_text(), release)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{apiVersion: apps/v1, kind: Deployment, spec: {replica: 1}}", "additional properties 'replica' not allowed"),
        ("{apiVersion: v1, kind: Service, spec: {ports: [{port: x}]}}", "got string, want integer"),
        ("{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding}", "missing property 'roleRef'"),
        ("{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, spec: {selectors: {}}}", "'selectors' not allowed"),
        ("{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, spec: {rule: []}}", "'rule' not allowed"),
        (
            "{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, spec: {triggers: []}}",
            "missing property 'scaleTargetRef'",
        ),
        ("{apiVersion: speculators.dev/v1alpha1, kind: SpeculatorDeployment, spec: {}}", "missing property 'model'"),
        ("{apiVersion: example.com/v1, kind: Unknown, metadata: {name: a}}", "could not find schema for Unknown"),
    ],
)
def test_what_is_wrong_does_not_pass(manifest: str, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        conform(manifest, NEWEST, definitions=[CRD])
