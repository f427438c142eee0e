"""farlane.models.names: names of models and references to their versions."""

from __future__ import annotations

import pytest

from farlane.errors import InvalidInput
from farlane.models.cid import Cid
from farlane.models.names import Reference, check_name, parse_reference

CID = Cid(1, 0x71, b"c" * 32)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("mini", Reference("mini")),
        ("mini@latest", Reference("mini")),
        ("lab/mini@champion", Reference("lab/mini", alias="champion")),
        ("mini@v12", Reference("mini", number=12)),
        (f"mini@{CID.text}", Reference("mini", cid=CID)),
    ],
)
def test_references_are_read_and_written(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text", ["", "@v1", "mini@", "mini@v0", "mini@Champion", "mini@v1@v2", "a/b/c", "mini@a b"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_reference(text)


@pytest.mark.parametrize(
    "name", ["", "Mini", "-mini", "a/", "/a", "a/../b", "a//b", "..", "x" * 65, "mini\n", "é"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="no name for a model"):
        check_name(name)
