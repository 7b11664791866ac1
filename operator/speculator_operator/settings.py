"""What an installation sets, once, for all resources: by environment variable, or by flag of ``run``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_IMAGE = "vllm/vllm-openai:v0.32.0"


@dataclass(frozen=True)
class Settings:
    """Times are in seconds."""

    engine_image: str = DEFAULT_IMAGE
    """The engine's image, where a resource names none."""
    hf_endpoint: str | None = None
    """The hub, where it isn't the public one. The operator reads from it."""
    engine_hf_endpoint: str | None = None
    """The hub as pods reach it, where that differs."""
    hub_timeout: float = 20.0
    """How long reading one model's config may take, all in all."""
    reread_interval: float = 600.0
    """A resource that is stalled on something outside is looked at again after this time."""
    resync_interval: float = 300.0
    """Every resource is looked at again about this often, whatever was or wasn't seen."""
    scrape_interval: float = 15.0
    """How often ready pods' metrics are read."""
    workers: int = 8
    """Passes that run at the same time, each over another resource."""
    requests_in_flight: int = 32
    """Requests to the API server at the same time."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Reads ``SPECULATOR_<FIELD>``.

        Raises:
            ValueError: a value is not of the field's type; the message names the variable.
        """
        values: dict[str, object] = {}
        for name, default in vars(cls()).items():
            variable = f"SPECULATOR_{name.upper()}"
            text = environment.get(variable, "").strip()
            if not text:
                continue
            if isinstance(default, int | float):
                try:
                    number = type(default)(text)
                except ValueError:
                    raise ValueError(f"{variable} must be a number, not {text!r}") from None
                if not 0 < number < 1e6:
                    raise ValueError(f"{variable} must be positive (and below a million), not {text!r}")
                values[name] = number
            else:
                values[name] = text
        return cls(**values)  # type: ignore[arg-type]

    @property
    def pod_hf_endpoint(self) -> str | None:
        return self.engine_hf_endpoint or self.hf_endpoint
