"""The compiled contracts: ABI and bytecode, made from contracts/src by scripts/build_contracts.py."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from farlane.errors import NotFound


@cache
def load(name: str) -> dict[str, Any]:
    """Return one contract's artifact: abi, bytecode, deployedBytecode, immutableReferences, compiler.

    Raises:
        NotFound: there is no such contract.
    """
    found = files(__name__).joinpath(f"{name}.json")
    if not found.is_file():
        raise NotFound(f"no contract {name!r} comes with farlane")
    artifact: dict[str, Any] = json.loads(found.read_text())
    return artifact
