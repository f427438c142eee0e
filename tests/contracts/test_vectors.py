"""The vectors of the contracts' tests are what this farlane signs and proves: forge checks the contracts against them.

`python tests/contracts/test_vectors.py` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from farlane.ledger.accounts import Address
from farlane.ledger.leaf import Leaf, pack
from farlane.ledger.tree import Tree, leaf_hash
from farlane.ledger.typed_data import Domain, digest

FILE = Path(__file__).resolve().parents[2] / "contracts/test/vectors/python.json"
LEAVES = 11
"""Enough for complete, ragged and one-sided trees, few enough to try every pair of sizes."""
TEST_CONTRACT = Address("0x7FA9385bE102ac3EAc297483Dd6233D62b3e1496")
"""Where forge deploys every test."""


def hexed(raw: bytes) -> str:
    return "0x" + raw.hex()


def vectors() -> dict[str, Any]:
    tree = Tree(leaf_hash(b"leaf %d" % number) for number in range(LEAVES))
    leaf = pack(Leaf(*range(1, 8), *[bytes([fill]) * 32 for fill in range(8, 13)], *range(13, 21)))  # type: ignore[arg-type]
    sizes = range(LEAVES + 1)
    return {
        "leaf": hexed(leaf),
        "leafHash": hexed(leaf_hash(leaf)),
        "leaves": [hexed(tree.leaf(index)) for index in range(LEAVES)],
        "roots": [hexed(tree.root(size)) for size in sizes],
        "growth": [
            {"newSize": new, "oldSize": old, "proof": [hexed(step) for step in tree.consistency(old, new)]}
            for new in sizes for old in range(new + 1)
        ],
        "places": [
            {"index": index, "proof": [hexed(step) for step in tree.inclusion(index, size)], "size": size}
            for size in sizes for index in range(size)
        ],
        "signed": signed(),
    }  # fmt: skip


def signed() -> dict[str, Any]:
    domain = Domain(99_001, TEST_CONTRACT, "ab" * 16)
    channel, root = bytes(range(32)), bytes(range(100, 132))
    one, two, three = (Address(f"0x{number:040x}") for number in (1, 2, 3))
    terms = (one, two, three, 1001, 300, 70, 1_800_000_000, 3600, 7200, root, channel)
    return {
        "chainId": domain.chain_id,
        "contract": domain.contract,
        "network": hexed(domain.salt),
        "separator": hexed(domain.separator),
        "channel": hexed(channel),
        "root": hexed(root),
        "voucher": hexed(digest(domain, "Voucher", (channel, 500, 7, root))),
        "acceptance": hexed(digest(domain, "Acceptance", (channel, root))),
        "terms": hexed(digest(domain, "JobTerms", terms)),
    }


def text() -> str:
    """Return the file: one vector a line."""
    parts = []
    for name, value in vectors().items():
        if isinstance(value, list):
            lines = ",\n    ".join(json.dumps(each) for each in value)
            parts.append(f'  "{name}": [\n    {lines}\n  ]')
        else:
            parts.append(f'  "{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def test_the_vectors_are_what_python_makes() -> None:
    assert FILE.read_text() == text(), (
        "run `python tests/contracts/test_vectors.py`, then the contracts' tests"
    )


if __name__ == "__main__":
    FILE.write_text(text())
