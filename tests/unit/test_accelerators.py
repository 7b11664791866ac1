"""What is known of accelerators: by what the resource says, and by the product."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from speculator_operator import api
from speculator_operator.api import Accelerator
from speculator_operator.core import accelerators

GIB = 2**30
DATA = json.loads((resources.files("speculator_operator.core") / "accelerators.json").read_text())


@pytest.mark.parametrize(
    ("given", "memory", "per_node"),
    [
        pytest.param({}, None, 16, id="nothing is said"),
        pytest.param({"product": "NVIDIA-H100-80GB-HBM3"}, 80 * GIB, 8, id="a product that is known"),
        pytest.param({"product": "NVIDIA-A100-SXM4-40GB"}, 40 * GIB, 16, id="a product that some nodes have many of"),
        pytest.param({"product": "NVIDIA-L40S"}, 48 * GIB, 16, id="a product whose nodes differ"),
        pytest.param({"product": "Example-9000"}, None, 16, id="a product that isn't known"),
        pytest.param({"product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"}, None, 16, id="a part of a product"),
        pytest.param({"product": "NVIDIA-H200", "memory": "100Gi"}, 100 * GIB, 8, id="memory that the resource says"),
        pytest.param({"memory": 85899345920}, 80 * GIB, 16, id="memory in bytes"),
        pytest.param({"memory": "1.5Gi"}, 3 * 2**29, 16, id="a part of a unit"),
        pytest.param({"memory": "80e9"}, 80 * 10**9, 16, id="an exponent"),
        pytest.param({"memory": "80G"}, 80 * 10**9, 16, id="a maker's gigabytes"),
        pytest.param({"memory": "0"}, 0, 16, id="none"),
        pytest.param({"memory": "9e99"}, 2**53, 16, id="more than anything has"),
        pytest.param({"memory": "1500m"}, 1, 16, id="thousandths"),
    ],
)
def test_memory_and_number(given: dict[str, str | int], memory: int | None, per_node: int) -> None:
    accelerator = Accelerator.model_validate(given)
    assert accelerators.memory(accelerator) == memory
    assert accelerators.per_node(accelerator) == per_node


@pytest.mark.parametrize("product", DATA["products"])
def test_each_product_is_a_label_with_a_source(product: str) -> None:
    row = DATA["products"][product]
    assert re.fullmatch(api.LABEL_VALUE_PATTERN, product)
    assert len(product) <= 63
    assert 1 <= row["gibibytes"] <= 512
    assert row["source"]
    assert all(source.startswith("https://") for source in row["source"])
    assert row.get("per_node", 1) <= DATA["most_per_node"]
