"""What an installation sets, once, for all resources: by environment variable, or by flag of ``run``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from . import logs

Seconds = Annotated[float, Field(gt=0, le=86400)]
Count = Annotated[int, Field(gt=0, le=1024)]


def _listed(given: Any) -> Any:
    """``a, b`` as an environment variable has it, as its parts."""
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given


def _json_objects(given: Any) -> Any:
    """A list of JSON as an environment variable has it."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


def _with_port(url: str) -> str:
    """Raises ValueError where the port is none."""
    urlsplit(url).port  # noqa: B018  # it is read for what it raises
    return url


def _pinned(image: str) -> str:
    match = _IMAGE.fullmatch(image)
    if not match or not (match["tag"] or match["digest"]):
        raise ValueError("it takes an image with a tag or a digest, such as registry.example/speculator-operator:0.1.0")
    if match["tag"] == "latest" and not match["digest"]:
        raise ValueError("the tag latest moves; name a version's tag or a digest")
    return image


#: Source: the grammar of references in github.com/distribution/reference, of digests the one that is in use.
_IMAGE = re.compile(
    r"(([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/)?"
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>sha256:[a-f0-9]{64}))?"
)
Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+[^\s?#@]*$", max_length=512), AfterValidator(_with_port)]
Origin = Annotated[
    str,
    Field(pattern=r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$", max_length=512),
    AfterValidator(_with_port),
]
Image = Annotated[str, Field(max_length=512), AfterValidator(_pinned)]
ObjectName = Annotated[
    str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
]
Objects = Annotated[tuple[dict[str, Any], ...], BeforeValidator(_json_objects), Field(max_length=32)]
Flag = Annotated[str, Field(max_length=128, pattern=r"^--[a-z0-9][a-z0-9-]*$")]
Variable = Annotated[str, Field(max_length=128, pattern=r"^[A-Z_][A-Z0-9_]*$")]
Pattern = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_compiles)]


class SettingInvalid(ValueError):
    """A setting that nothing can be begun with; the message names its variable."""


class Settings(BaseModel):
    """Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    engine_image: Annotated[str, Field(min_length=1, max_length=512)] = "vllm/vllm-openai:v0.32.0"
    """The engine's image, where a resource names none."""
    hf_endpoint: Url | None = None
    """The hub, where it isn't the public one. Pods are told of it too."""
    engine_hf_endpoint: Url | None = None
    """The hub as pods reach it, where that differs."""
    hub_timeout: Seconds = 20.0
    """How long reading one model's config may take, all in all."""
    reread_interval: Seconds = 600.0
    """A resource that is stalled on something outside is looked at again after this time."""
    resync_interval: Seconds = 300.0
    """Every resource is looked at again about this often, whatever was or wasn't seen."""
    scrape_interval: Seconds = 15.0
    """How often ready pods' metrics are read."""
    acceptance_window: Seconds = 300.0
    """What acceptance in status is an average over."""
    http_port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """Where `/healthz`, `/readyz` and the operator's own `/metrics` are served; nowhere by default."""
    log_format: logs.Format = "text"
    """How log lines are written: `text`, or `json`, an object a line."""
    leader_election: bool = False
    """Whether several replicas agree by a Lease on which one works. Without it, there may be one replica only."""
    lease_name: ObjectName = "speculator-operator"
    """The Lease's name."""
    lease_namespace: ObjectName | None = None
    """The Lease's namespace; the operator's own, where it runs in a pod."""
    lease_seconds: Annotated[int, Field(ge=3, le=600)] = 15
    """How long the others wait for a leader that says nothing. It ends by itself after two thirds of that."""
    resolver_image: Image | None = None
    """The operator's own image, with a tag or a digest: for the Jobs that read what isn't public, and to fetch weights
    onto a claim or from object storage."""
    resolver_pull_secret: ObjectName | None = None
    """The Secret to pull that image with, in each namespace that needs one."""
    resolver_timeout: Seconds = 300.0
    """How long such a Job may take, its pod's start included."""
    fetch_timeout: Seconds = 14400.0
    """How long a Job may take that fetches a model onto a claim (`spec.cache`). Another one goes on where it ended."""
    s3_endpoint: Origin | None = None
    """Where `s3://` is, if it isn't AWS."""
    s3_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    """Its region."""
    workers: Count = 8
    """Passes that run at the same time, each over another resource."""
    requests_in_flight: Count = 32
    """Requests to the API server at the same time."""
    allow_flags: Annotated[tuple[Flag, ...], BeforeValidator(_listed), Field(max_length=256)] = ()
    """Flags of the engine that resources may set besides those of the policy, such as `--enable-lora,--max-loras` (on
    the command line after an equals sign). Not: what a field sets, what removes, moves or stands before the proof,
    secrets. Whoever may set a flag that names code to run, such as a plugin, is trusted with the proof too."""
    allow_env: Annotated[tuple[Variable, ...], BeforeValidator(_listed), Field(max_length=256)] = ()
    """Environment variables that resources may set besides those of the policy, such as
    `NCCL_DEBUG_FILE,VLLM_PLUGINS`. Not: those that the operator or a field sets, those that replace the hub, the models
    or the programs, proxies. One that is a secret by its name (`*_TOKEN`, `*_SECRET*`, `*_KEY`, `*_PASSWORD`) is taken
    from a Secret only."""
    allow_pickled_weights: bool = False
    """Whether weights may be in pickles, which run code when they are loaded, where a model has no safetensors."""
    allow_remote_code: bool = False
    """Whether resources may set `--trust-remote-code`, so that engines run the code in a model's repository."""
    secret_names: Pattern = ".*"  # noqa: S105  # it is about names
    """A regular expression that the name of every Secret that a resource names has to match as a whole."""
    network_policies: bool = True
    """Whether each resource has a NetworkPolicy of its own. Where it is turned off, those that it had are deleted."""
    network_policy_peers: Objects = ()
    """Who reaches every resource's API port, whatever its `spec.networkPolicy.from` says: the operator, which reads
    metrics there, and whoever else does. A list of NetworkPolicyPeers as JSON, such as
    `[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "speculator-operator"}}}]`."""
    network_policy_egress: Objects = ()
    """What pods reach beside what their models are downloaded from, where `spec.networkPolicy.egress` is `Sources`: a
    proxy, a DNS server at another port, object storage at a private address. A list of a NetworkPolicy's egress rules
    as JSON."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads ``SPECULATOR_<FIELD>``; the hub also from ``HF_ENDPOINT``, as every client of it does.

        Raises:
            SettingInvalid: a value is not of the field's type; the message names the variable.
        """
        names = {name: variable(name) for name in cls.model_fields}
        values = {name: environment.get(names[name], "").strip() for name in names}
        values["hf_endpoint"] = values["hf_endpoint"] or environment.get("HF_ENDPOINT", "").strip()
        try:
            return cls.model_validate({name: value for name, value in values.items() if value})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = names[str(first["loc"][0])]
            raise SettingInvalid(f"{name} is {str(first['input'])[:200]!r}: {first['msg']}") from None

    @property
    def pod_hf_endpoint(self) -> str | None:
        return self.engine_hf_endpoint or self.hf_endpoint


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return f"SPECULATOR_{field.upper()}"


def written(value: Any) -> str:
    """A setting's value as its environment variable would have it; nothing, where it has none."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case (dict(), *_):
            return json.dumps(value)
        case tuple():
            return ",".join(value)
    return str(value)
