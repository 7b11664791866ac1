"""What an installation can set, and how it is written."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator.settings import Settings, variable, written

DIGEST = f"@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("allow_flags", "--enable-lora", ("--enable-lora",)),
        ("allow_flags", " --enable-lora, --max-loras ,", ("--enable-lora", "--max-loras")),
        ("allow_flags", ",", ()),
        ("allow_env", "NCCL_DEBUG_FILE,VLLM_PLUGINS", ("NCCL_DEBUG_FILE", "VLLM_PLUGINS")),
        ("allow_remote_code", "true", True),
        ("allow_remote_code", "false", False),
        ("allow_pickled_weights", "TRUE", True),
        ("secret_names", "hub-[a-z]{1,9}|clients", "hub-[a-z]{1,9}|clients"),
        ("secret_names", "", ".*"),
        ("hub_timeout", "2.5", 2.5),
        ("http_port", "8080", 8080),
        ("resolver_image", "speculator-operator:0.1.0", "speculator-operator:0.1.0"),
        ("resolver_image", "localhost:5000/team__a/operator:v1", "localhost:5000/team__a/operator:v1"),
        ("resolver_image", f"[::1]:5000/a/b{DIGEST}", f"[::1]:5000/a/b{DIGEST}"),
        ("resolver_image", f"registry.example/a:latest{DIGEST}", f"registry.example/a:latest{DIGEST}"),
        ("resolver_pull_secret", "pull-1.registry", "pull-1.registry"),
        ("network_policies", "false", False),
        ("network_policy_peers", '[{"podSelector": {}}]', ({"podSelector": {}},)),
        ("network_policy_egress", " [] ", ()),
        ("s3_endpoint", "http://s3.example:65535", "http://s3.example:65535"),
        ("s3_endpoint", "https://[::1]:9000/", "https://[::1]:9000/"),
    ],
)
def test_a_setting_is_read_from_its_variable(name: str, text: str, value: object) -> None:
    settings = Settings.from_environment({variable(name): text})
    assert getattr(settings, name) == value
    assert Settings.from_environment({variable(name): written(value)}) == settings


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("allow_flags", "enable-lora"),
        ("allow_flags", "--enable-lora=1"),
        ("allow_flags", "--enable-lora --max-loras"),
        ("allow_flags", ",".join(["--a"] * 257)),
        ("allow_env", "path"),
        ("allow_env", "A=1"),
        ("allow_remote_code", "perhaps"),
        ("allow_pickled_weights", "2"),
        ("resolver_image", "registry.example/operator"),
        ("resolver_image", "registry.example:5000/operator"),
        ("resolver_image", "registry.example/operator:latest"),
        ("resolver_image", "registry.example/operator:"),
        ("resolver_image", "registry.example/operator@sha256:abc"),
        ("resolver_image", "https://registry.example/operator:v1"),
        ("resolver_image", "registry.example/Operator:v1"),
        ("resolver_image", "-operator:v1"),
        ("resolver_image", "operator:v1 --privileged"),
        ("resolver_image", "a" * 600),
        ("resolver_pull_secret", "Pull"),
        ("resolver_pull_secret", "pull_secret"),
        ("resolver_pull_secret", "a..b"),
        ("resolver_pull_secret", "pull-"),
        ("s3_endpoint", "http://s3.example:65536"),
        ("s3_endpoint", "http://s3.example:99999/"),
        ("hf_endpoint", "http://hub.example:65536"),
        ("hf_endpoint", "http://hub.example:x/a"),
        ("network_policies", "none"),
        ("network_policy_peers", "podSelector"),
        ("network_policy_peers", '{"podSelector": {}}'),
        ("network_policy_peers", '["10.0.0.0/8"]'),
        ("network_policy_egress", "[" * 100_000),
        ("secret_names", "("),
        ("secret_names", "x" * 513),
    ],
)
def test_a_setting_of_the_wrong_form_is_refused_by_its_variable(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{variable(name)} is ") as caught:
        Settings.from_environment({variable(name): text})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (({"a": [1]}, {}), '[{"a": [1]}, {}]'),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (20.0, "20"),
        (0.5, "0.5"),
        (8, "8"),
        ((), ""),
        (("a", "b"), "a,b"),
    ],
)
def test_a_value_is_written_as_its_variable_has_it(value: Any, text: str) -> None:
    assert written(value) == text
