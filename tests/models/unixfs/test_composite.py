"""Each part of a composite file has the CID it would have alone."""

from __future__ import annotations

import io
import random

import pytest

from farlane.errors import Conflict, InvalidInput
from farlane.models.unixfs.composite import composite_lengths, ranges_to_parts
from farlane.models.unixfs.dag_pb import decode_node
from farlane.models.unixfs.describing import Composite, ContentDefined, Plain, describe
from farlane.models.unixfs.file_dag import FileDag


def dag_of(content: bytes, plan: Composite | Plain | ContentDefined) -> FileDag:
    return describe(io.BytesIO(content), len(content), [plan]).dags[0]


def test_parts_are_found_under_the_root() -> None:
    content = random.Random(1).randbytes(5_000_000)
    parts = [100, 1 << 20, 3_000_000, 5_000_000 - 3_000_100 - (1 << 20)]
    both = describe(io.BytesIO(content), len(content), [Composite(parts), Plain()])
    dag, at, alone = both.dags[0], 0, []
    for part in parts:
        alone.append(dag_of(content[at : at + part], Plain()).root)
        at += part
    assert [link.cid for link in decode_node(dag.nodes[dag.root]).links] == alone
    assert both.dags[1].root == dag_of(content, Plain()).root != dag.root


def test_one_part_gets_no_root_of_its_own_and_many_get_levels() -> None:
    content = random.Random(2).randbytes(3000)
    assert dag_of(content, Composite([3000])).root == dag_of(content, Plain()).root
    many = dag_of(content, Composite([1] * 3000))
    assert len(decode_node(many.nodes[many.root]).links) == 3


@pytest.mark.parametrize(
    "ranges", [[(0, 5)], [(0, 5), (6, 4)], [(0, 5), (4, 6)], [(0, 0), (0, 10)], [(0, 11)]]
)
def test_ranges_that_do_not_cover_the_file_are_refused(ranges: list[tuple[int, int]]) -> None:
    assert ranges_to_parts([(0, 4), (4, 6)], 10) == [4, 6]
    with pytest.raises(InvalidInput):
        ranges_to_parts(ranges, 10)


def test_wrong_parts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="part 1"):
        composite_lengths([3, 0])
    with pytest.raises(Conflict, match="look at it again"):
        dag_of(b"12345", Composite([4]))
    with pytest.raises(Conflict, match="stop its writer"):
        describe(io.BytesIO(b"12345"), 4)


def test_content_defined_cuts_survive_an_insertion() -> None:
    content = random.Random(3).randbytes(8_000_000)
    old = dag_of(content, ContentDefined()).leaves
    new = dag_of(content[:1_000_000] + b"inserted" + content[1_000_000:], ContentDefined()).leaves
    known = {old.digest(index) for index in range(len(old))}
    fresh = sum(int(new.lengths[index]) for index in range(len(new)) if new.digest(index) not in known)
    assert fresh < 2 << 20
    assert (old.lengths[:-1] >= 64 << 10).all()
    assert (old.lengths <= 1 << 20).all()
    assert len(old) > 15
