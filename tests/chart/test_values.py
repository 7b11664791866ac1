"""Every value does something, is described, and is refused where it is wrong."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest

from speculator_operator.core.network_policy import check_settings
from speculator_operator.settings import Settings
from tests.support import chart
from tests.support.chart import DEFAULTS, SCHEMA, merged, nested
from tools import chart_values
from tools.chart import CHART, RenderFailed

DIGEST = f"sha256:{'0' * 64}"
#: Another value than the default, where none can be made up.
EXAMPLES: dict[str, Any] = {
    "fullnameOverride": "another",
    "image.tag": "v2",
    "image.digest": DIGEST,
    "image.pullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "watchNamespaces": ["team-a"],
    "settings.hfEndpoint": "https://hub.example",
    "settings.engineHfEndpoint": "https://hub.example",
    "settings.resolverImage": "registry.example/operator:v2",
    "settings.resolverPullSecret": "registry",
    "settings.s3Endpoint": "https://s3.example",
    "settings.s3Region": "eu-central-1",
    "settings.allowFlags": ["--enable-lora", "--max-loras"],
    "settings.allowEnv": ["NCCL_DEBUG_FILE"],
    "settings.secretNames": "hub-[a-z]+",
    "settings.networkPolicyPeers": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    "settings.networkPolicyEgress": [{"ports": [{"port": 3128, "protocol": "TCP"}]}],
    "settings.logFormat": "json",
    "serviceAccount.name": "another",
    "serviceAccount.annotations": {"a.example/b": "c"},
    "resources.requests": {"cpu": 1},
    "resources.limits": {"memory": "1Gi"},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"a.example/b": "c"},
    "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [],
    "podLabels": {"a.example/b": "c"},
    "podAnnotations": {"a.example/b": "c"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "extraVolumes": [{"name": "ca", "configMap": "ca", "mountPath": "/etc/ca"}],
    "networkPolicy.metricsFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
    "networkPolicy.apiServerPorts": [16443],
    "networkPolicy.dnsPorts": [53, 5353],
    "networkPolicy.hubPorts": [3128],
    "networkPolicy.extraEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}],
    "metricsService.annotations": {"prometheus.io/scrape": "true"},
    "test.expectedReason": "HubUnavailable",
    "admission.rules": [{"name": "team-a", "images": ["registry.example/ml"]}],
    "monitoring.operator.labels": {"release": "prometheus"},
    "monitoring.operator.interval": "30s",
    "monitoring.engines.labels": {"release": "prometheus"},
    "monitoring.engines.interval": "30s",
    "monitoring.engines.namespaces": ["team-a"],
    "monitoring.rules.labels": {"release": "prometheus"},
    "monitoring.rules.runbookUrl": "https://runbooks.example/speculator-operator",
    "monitoring.rules.recordingInterval": "1m",
    **{f"monitoring.rules.alerts.{name}": {"for": "1h"} for name in DEFAULTS["monitoring"]["rules"]["alerts"]},
    "dashboard.namespace": "grafana",
    "dashboard.labels": {"grafana_dashboard": "yes"},
    "dashboard.annotations": {"grafana_folder": "vLLM"},
}
CRDS = {"crds": {"install": False}}  # it is long, and the same
SWITCHED = ("monitoring.operator", "monitoring.engines", "monitoring.rules", "dashboard")
#: What a value has an effect with only.
BESIDE: dict[str, Any] = {
    path: nested(f"{part}.enabled", value=True)
    for part in SWITCHED
    for path in chart.leaves(DEFAULTS, SCHEMA)
    if path.startswith(f"{part}.") and path != f"{part}.enabled"
}


def another(path: str) -> Any:
    """Another value than the default."""
    default = chart.leaves(DEFAULTS, SCHEMA)[path]
    if path in EXAMPLES:
        return EXAMPLES[path]
    match default:
        case bool():
            return not default
        case int() | float():
            return default + 1
        case str() if default:
            return f"{default}-2"
    raise AssertionError(f"EXAMPLES names no other value of {path}, whose default is {default!r}")


@pytest.mark.parametrize("path", chart.leaves(DEFAULTS, SCHEMA))
def test_each_value_changes_what_is_rendered(path: str) -> None:
    default = {} if path == "crds.install" else merged(CRDS, BESIDE.get(path, {}))
    assert chart.text(merged(default, nested(path, another(path)))) != chart.text(default)


def test_there_are_examples_of_what_exists_only() -> None:
    assert set(EXAMPLES) <= set(chart.leaves(DEFAULTS, SCHEMA))


def test_each_setting_of_the_operator_is_a_value_or_is_set_by_the_chart() -> None:
    variables = chart.environment(chart.objects(merged(CRDS, _other_settings())))
    names = {name.removeprefix("SPECULATOR_").lower() for name in variables}
    assert set(Settings.model_fields) - names == {"lease_namespace"}  # the pod's own


def _other_settings() -> chart.Values:
    return {"settings": {name: another(f"settings.{name}") for name in DEFAULTS["settings"]}}


def test_the_operator_reads_each_setting_as_it_was_meant() -> None:
    given = _other_settings()["settings"]
    read = Settings.from_environment(chart.environment(chart.objects(merged(CRDS, {"settings": given}))))
    for field, name in chart_values.settings().items():
        expected = tuple(given[name]) if isinstance(given[name], list) else given[name]
        found = getattr(read, field)[1:] if field == "network_policy_peers" else getattr(read, field)
        assert (field, found) == (field, expected)
    check_settings(read)


def test_the_settings_defaults_are_the_operators() -> None:
    read = Settings.from_environment(chart.environment(chart.objects(CRDS)))
    ours = {*chart_values.ADDED, *chart_values.WIRED}
    assert read.model_dump(exclude=ours) == Settings().model_dump(exclude=ours)


def _described(schema: dict[str, Any], path: str, *, above: bool = False) -> list[str]:
    """Paths of what has no description, nor is in something that has one."""
    missing = []
    for key, part in schema.get("properties", {}).items():
        described = above or "description" in part
        if "properties" in part:
            missing += _described(part, f"{path}{key}.", above=described)
        elif not described:
            missing.append(f"{path}{key}")
    return missing


def test_each_value_is_described() -> None:
    assert _described(SCHEMA, "") == []


def _objects(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for part in schema for found in _objects(part)]
    if not isinstance(schema, dict):
        return []
    inner = [found for part in schema.values() for found in _objects(part)]
    return [schema, *inner] if schema.get("type") == "object" and "properties" in schema else inner


def test_no_object_of_the_schema_takes_what_it_does_not_know() -> None:
    assert [found for found in _objects(SCHEMA) if found.get("additionalProperties") is not False] == []


def mounted(name: str, path: str) -> dict[str, str]:
    return {"name": name, "secret": name, "mountPath": path}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replica": 3}, "additional properties 'replica' not allowed"),
        ({"settings": {"hf_endpoint": "https://hub.example"}}, "additional properties 'hf_endpoint' not allowed"),
        ({"settings": {"metricsPort": 8080}}, "additional properties 'metricsPort' not allowed"),
        ({"settings": {"hfEndpoint": "hub.example"}}, "/settings/hfEndpoint': 'hub.example' does not match pattern"),
        ({"settings": {"workers": 0}}, "/settings/workers'"),
        ({"settings": {"workers": "8"}}, "/settings/workers': got string, want integer"),
        ({"settings": {"allowFlags": "--enable-lora"}}, "/settings/allowFlags': got string, want array"),
        ({"settings": {"allowFlags": ["enable-lora"]}}, "/settings/allowFlags/0': 'enable-lora' does not match"),
        ({"replicas": -1}, "/replicas': minimum: got -1, want 0"),
        ({"admission": {"rules": [{"name": "a"}]}}, "/admission/rules/0': missing property"),
        ({"admission": {"rules": [{"images": []}]}}, "/admission/rules/0': missing property 'name'"),
        ({"admission": {"rules": [{"name": "a", "image": []}]}}, "additional properties 'image' not allowed"),
        (
            {"admission": {"rules": [{"name": "a", "images": []}, {"name": "a", "models": []}]}},
            "admission.rules has the name a twice",
        ),
        ({"admission": {"rules": [{"name": "a", "images": ["vllm/vllm-openai"]}]}}, "/images/0'"),
        ({"admission": {"rules": [{"name": "a", "images": ["index.docker.io/vllm"]}]}}, "/images/0'"),
        ({"admission": {"rules": [{"name": "a", "images": ["registry.example/vllm:v1"]}]}}, "/images/0'"),
        ({"admission": {"rules": [{"name": "a", "models": ["http://hub.example/"]}]}}, "/models/0'"),
        ({"admission": {"rules": [{"name": "a", "models": ["s3://bucket/../other"]}]}}, "/models/0'"),
        ({"admission": {"rules": [{"name": "a", "gpusPerPod": "4"}]}}, "got string, want integer"),
        ({"image": {"repository": "registry.example/operator:v1"}}, "/image/repository'"),
        ({"image": {"tag": "latest"}}, "image.tag is latest, which moves: name a version's tag, or a digest"),
        ({"image": {"digest": "0" * 64}}, "/image/digest'"),
        ({"image": {"pullPolicy": "Sometimes"}}, "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ({"watchNamespaces": "team-a"}, "/watchNamespaces': got string, want array"),
        ({"watchNamespaces": ["Team"]}, "/watchNamespaces/0': 'Team' does not match pattern"),
        ({"watchNamespaces": ["a", "a"]}, "/watchNamespaces': items at 0 and 1 are equal"),
        ({"fullnameOverride": "n" * 53}, "/fullnameOverride': maxLength: got 53, want 52"),
        ({"resources": {"request": {}}}, "additional properties 'request' not allowed"),
        ({"extraEnv": [{"name": "SPECULATOR_WORKERS", "value": "1"}]}, "SPECULATOR_WORKERS, which is a setting"),
        ({"extraEnv": [{"name": "A", "value": "1"}] * 2}, "extraEnv has the name A twice"),
        ({"extraEnv": [{"name": "A", "value": 1}]}, "/extraEnv/0/value': got number, want string"),
        ({"extraEnv": [{"name": "A", "value": None}]}, "/extraEnv/0/value': got null, want string"),
        ({"watchNamespaces": [None]}, "/watchNamespaces/0': got null, want string"),
        ({"admission": {"rules": [{"name": "a", "images": None}]}}, "/images': got null, want array"),
        ({"extraVolumes": [{"name": "ca", "mountPath": "/etc/ca"}]}, "/extraVolumes/0': minProperties"),
        ({"extraVolumes": [mounted("a", "/a"), mounted("a", "/b")]}, "extraVolumes has the name a twice"),
        ({"extraVolumes": [mounted("a", "/a"), mounted("b", "//a/")]}, "extraVolumes has the mountPath /a twice"),
        ({"extraVolumes": [mounted("operator-tmp", "/a")]}, "the name operator-tmp, which is the chart's"),
        ({"extraVolumes": [mounted("a", "//tmp/")]}, "the mountPath /tmp, which would hide the operator's"),
        ({"extraVolumes": [mounted("a", "//")]}, "the mountPath /, which would hide the operator's"),
        ({"extraVolumes": [mounted("a", "/opt")]}, "the mountPath /opt, which would hide the operator's"),
        (
            {"extraVolumes": [mounted("a", "/a/../opt/operator/lib")]},
            "the mountPath /opt/operator/lib, which would hide",
        ),
        (
            {"extraVolumes": [mounted("a", "/var/run/secrets/kubernetes.io/serviceaccount")]},
            "where the operator's token belongs",
        ),
        ({"imagePullSecrets": [{"name": "a"}] * 2}, "/imagePullSecrets': items at 0 and 1 are equal"),
        ({"networkPolicy": {"dnsPorts": [53, 53]}}, "/networkPolicy/dnsPorts': items at 0 and 1 are equal"),
        ({"networkPolicy": {"dnsPorts": [0]}}, "/networkPolicy/dnsPorts/0': minimum: got 0, want 1"),
        ({"monitoring": {"rules": {"alerts": {"ResourceStalled": {"after": "5m"}}}}}, "additional properties 'after'"),
        (
            {"monitoring": {"rules": {"alerts": {"OperatorErrors": {"for": "soon"}}}}},
            "/OperatorErrors/for': 'soon' does",
        ),
        ({"monitoring": {"rules": {"alerts": {"AcceptanceCollapsed": {"minimumDays": 7}}}}}, "maximum: got 7, want 6"),
        ({"monitoring": {"rules": {"runbookUrl": "runbook.md"}}}, "/runbookUrl': 'runbook.md' does not match"),
        ({"tolerations": [{"effect": "Never"}]}, "/tolerations/0/effect': value must be one of 'NoSchedule'"),
    ],
)
def test_a_wrong_value_is_refused_in_words(values: chart.Values, words: str) -> None:
    with pytest.raises(RenderFailed, match=re.escape(words)):
        chart.text(values)


#: Everything that can be turned on.
ON = merged(CRDS, *(nested(f"{part}.enabled", value=True) for part in SWITCHED))


def _paths(schema: dict[str, Any], path: str = "") -> list[str]:
    """Paths of all that the schema knows, and of what is in it."""
    schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    found = []
    for key, part in schema.get("properties", {}).items():
        found += [f"{path}{key}", *_paths(part, f"{path}{key}.")]
    return found


@pytest.mark.parametrize("path", _paths(SCHEMA))
def test_null_is_empty_or_is_refused_in_words(path: str) -> None:
    given = merged(ON, nested(path, None))
    if refusal := _refusal(given):
        above, _, key = f"/{path.replace('.', '/')}".rpartition("/")
        words = f"at '{above}': missing property '{key}'", f"at '{above}/{key}': got null, want "
        assert any(it in refusal for it in words), refusal
        return
    found = chart.objects(given)
    if path.startswith("settings."):
        ours, default = (Settings.from_environment(chart.environment(it)) for it in (found, chart.objects(ON)))
        assert ours == default
    else:
        assert _pruned(found) == _pruned(chart.objects(merged(ON, nested(path, _emptied(path)))))


def _pruned(part: Any) -> Any:
    """Without empty maps, which say what no map says."""
    if isinstance(part, list):
        return [_pruned(it) for it in part]
    return {key: _pruned(it) for key, it in part.items() if it != {}} if isinstance(part, dict) else part


def _refusal(values: chart.Values) -> str:
    try:
        chart.text(values)
    except RenderFailed as error:
        return str(error)
    return ""


def _emptied(path: str) -> Any:
    """A value that has the type of the default, and is empty."""
    match functools.reduce(dict.__getitem__, path.split("."), DEFAULTS):
        case dict() as default:
            return dict.fromkeys(default)
        case str() | list() as default:
            return type(default)()
    raise AssertionError(f"{path} can't be empty, and is taken")


def test_null_takes_an_entry_from_a_map() -> None:
    found = chart.objects(merged(ON, {"resources": {"limits": {"memory": None}}}))
    assert chart.container(found)["resources"]["limits"] == {"ephemeral-storage": "256Mi"}
    found = chart.objects(merged(ON, {"dashboard": {"labels": {"grafana_dashboard": None}}}))
    assert "grafana_dashboard" not in chart.only(found, "ConfigMap")["metadata"]["labels"]


def test_what_a_parent_chart_gives_is_taken() -> None:
    assert chart.text(merged(CRDS, {"global": {"region": "eu"}, "enabled": True})) == chart.text(CRDS)


def test_the_readme_names_each_value() -> None:
    readme = (CHART / "README.md").read_text()
    assert [path for path in chart.leaves(DEFAULTS, SCHEMA) if f"| `{path}` |" not in readme] == []
