"""``spec.accelerator`` -> how much memory one has, and how many a node has, where that is known.

The products are data with a source beside each row (``accelerators.json``). Makers' gigabytes are taken for GiB, which
is a little more than what a device has: the check of memory then errs to the safe side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from speculator_operator import api
from speculator_operator.core.model_config import LARGEST
from speculator_operator.quantity import worth

_GIB = 2**30


def memory(accelerator: api.Accelerator) -> int | None:
    """Bytes of one accelerator: as the resource says, else the product's; None where neither is known."""
    if accelerator.memory is not None:
        return int(min(worth(accelerator.memory) or 0, LARGEST))
    product = _product(accelerator)
    return product["gibibytes"] * _GIB if product else None


def per_node(accelerator: api.Accelerator) -> int:
    """The most that a node has: of the product, where it is known, else of any."""
    product = _product(accelerator) or {}
    most: int = product.get("per_node", _data()["most_per_node"])
    return most


def _product(accelerator: api.Accelerator) -> Mapping[str, Any] | None:
    products: Mapping[str, Mapping[str, Any]] = _data()["products"]
    return products.get(accelerator.product or "")


@cache
def _data() -> Mapping[str, Any]:
    data: Mapping[str, Any] = json.loads((resources.files(__package__) / "accelerators.json").read_text())
    return data
