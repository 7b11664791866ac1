"""Kubernetes' quantities, such as ``500m``, ``1.5Ti`` or ``1e9``, as numbers."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip


def worth(quantity: Any) -> Decimal | None:
    """What a quantity stands for; None where it is none."""
    text = str(quantity)
    suffix = text.lstrip("+-0123456789.")
    try:
        if suffix[:1] in ("e", "E") and suffix[1:].lstrip("+-").isdigit():
            return Decimal(text)
        return Decimal(text.removesuffix(suffix)) * _SUFFIXES[suffix]
    except (InvalidOperation, KeyError):
        return None
