"""The precompiles of two curves, loaded when a contract first calls one: their tables cost half of py-evm's import."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any

from farlane.kit.recursion import recursion_limit_kept

_PACKAGE = "eth.precompiles"
_PRECOMPILES = {
    "ecadd": ("ecadd",),
    "ecmul": ("ecmul",),
    "ecpairing": ("ecpairing",),
    "bls12_381": (
        "bls12_g1_add",
        "bls12_g1_msm",
        "bls12_map_fp_to_g1",
        "bls12_g2_add",
        "bls12_g2_msm",
        "bls12_map_fp2_to_g2",
        "bls12_pairing_check",
    ),
}
"""Module -> its precompiles, at the addresses 0x06 to 0x08 and 0x0b to 0x11. Source: EIP-196, EIP-197, EIP-2537."""


def defer_curves() -> None:
    """Let py-evm find stand-ins that load its own modules at the first call; does nothing once py-evm is there."""
    if _PACKAGE in sys.modules:
        return
    for module, names in _PRECOMPILES.items():
        stand_in = ModuleType(f"{_PACKAGE}.{module}")
        for name in names:
            setattr(stand_in, name, _late(stand_in.__name__, name))
        sys.modules[stand_in.__name__] = stand_in


def _late(module: str, name: str) -> Callable[..., Any]:
    """Return a precompile; called with prices alone it returns one of these prices, as py-evm's curried ones do."""

    def precompile(*computation: Any, **prices: int) -> Any:
        if not computation:
            return partial(precompile, **prices)
        return getattr(_real(module), name)(*computation, **prices)

    return precompile


@cache
def _real(module: str) -> ModuleType:
    sys.modules.pop(module, None)
    with recursion_limit_kept():
        return import_module(module)
