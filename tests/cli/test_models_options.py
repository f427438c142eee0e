"""What commands about models say of bytes that moved."""

from __future__ import annotations

import pytest

from farlane.cli.models_options import moved_text


@pytest.mark.parametrize(
    ("moved", "total", "said"),
    [
        (0, 1_000_000, "nothing came: all 1.0 MB were here already"),
        (500_000, 1_000_000, "500.0 kB came of 1.0 MB; the rest was here"),
        (90_912_000, 90_930_000, "90.9 MB came"),
        (1_000_500, 1_000_000, "1.0 MB came"),
    ],
)
def test_what_moved_is_said_with_what_did_not(moved: int, total: int, said: str) -> None:
    assert moved_text(moved, total, "came", "here") == said
