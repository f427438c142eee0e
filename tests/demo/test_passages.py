"""The shipped passages: all of the novel, in order, in pieces of a useful size."""

from __future__ import annotations

import pytest

from farlane.demo import passages
from farlane.demo.passages import load_passages
from farlane.errors import Corrupted


def test_the_whole_novel_is_there_in_order() -> None:
    loaded = load_passages()
    assert 1_450 <= len(loaded) <= 1_550
    assert [passage.number for passage in loaded] == list(range(len(loaded)))
    assert sorted({passage.chapter for passage in loaded}) == list(range(1, 62))
    assert [passage.chapter for passage in loaded] == sorted(passage.chapter for passage in loaded)
    assert loaded[0].text.startswith("It is a truth universally acknowledged")
    assert loaded[-1].text.endswith("had been the means of uniting them.")
    assert sum(len(passage.text.split()) for passage in loaded) == 121_439


def test_passages_have_a_useful_size() -> None:
    sizes = [len(passage.text.split()) for passage in load_passages()]
    assert min(sizes) >= 40
    assert sum(size > 120 for size in sizes) <= 2


def test_a_limit_takes_the_beginning() -> None:
    assert load_passages(7) == load_passages()[:7]


@pytest.mark.parametrize("line", ["", "12", "x\ttext", "3\t"])
def test_a_damaged_line_is_named(line: str) -> None:
    with pytest.raises(Corrupted, match="line 5 of the demo's passages"):
        passages._parse(4, line)
