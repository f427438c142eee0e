"""Everything the contracts' interfaces declare is described in NatSpec, so that wallets and explorers can show it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
DECLARATION = re.compile(r"^    (?:function|event|error|struct|enum) (\w+)", re.MULTILINE)


@pytest.mark.parametrize("name", ["IComputeLedger", "INetworkRegistry", "IModelRegistry"])
def test_every_declaration_of_an_interface_has_a_notice(name: str) -> None:
    text = (CONTRACTS / f"src/interfaces/{name}.sol").read_text()
    found = list(DECLARATION.finditer(text))
    assert len(found) > 20
    lines = text.splitlines()
    for declaration in found:
        at = text.count("\n", 0, declaration.start())
        comment = []
        while lines[at - 1].startswith("    ///"):
            at -= 1
            comment.append(lines[at])
        assert any("@notice" in line for line in comment), f"{name}.{declaration[1]} has no @notice"


@pytest.mark.parametrize("name", ["ComputeLedger", "NetworkRegistry", "ModelRegistry"])
def test_every_external_function_inherits_its_description(name: str) -> None:
    text = (CONTRACTS / f"src/{name}.sol").read_text()
    described = len(re.findall(rf"/// @inheritdoc I{name}\n    function ", text))
    external = re.findall(r"^    function (?!_)\w+\(", text, re.MULTILINE)
    assert described == len(external) > 9
