"""Reading the Standard Workload Format."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from farlane.errors import Corrupted, InvalidInput, NotFound
from farlane.lab.traces.swf import read_swf

HEADER = "; Version: 2\n; MaxNodes: 4\n; MaxProcs: 8\n"


def job(
    number: int = 1, submit: int = 0, run: int = 5, allocated: int = 2, requested: int = 3, time: int = 60
) -> str:
    return f"{number} {submit} -1 {run} {allocated} -1 -1 {requested} {time} -1 1 9 -1 -1 0 -1 -1 -1\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "log.swf"
    path.write_text(text)
    return path


def test_a_job_is_read(tmp_path: Path) -> None:
    trace = read_swf(written(tmp_path, HEADER + job(submit=7)))
    assert (trace.submit_s[0], trace.run_s[0], trace.request_s[0], trace.processors[0]) == (7, 5, 60, 3)
    assert (trace.machine_nodes, trace.machine_processors, trace.nodes_needed[0]) == (4, 8, 2)


def test_a_packed_one_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log.swf.gz"
    path.write_bytes(gzip.compress((HEADER + job()).encode()))
    assert len(read_swf(path)) == 1


def test_jobs_come_in_the_order_of_their_numbers_without_those_that_never_ran(tmp_path: Path) -> None:
    trace = read_swf(written(tmp_path, HEADER + job(3, 9) + job(1, 1) + job(2, 5, run=0)))
    assert trace.submit_s.tolist() == [1, 9]


def test_what_is_not_known_gets_what_the_published_tables_take(tmp_path: Path) -> None:
    trace = read_swf(written(tmp_path, HEADER + job(1, run=-1, time=-1) + job(2, run=4, time=-1)))
    assert trace.run_s.tolist() == [10, 4]
    assert trace.request_s.tolist() == [-1, 4]


def test_a_machine_without_processors_in_its_header_has_as_many_as_nodes(tmp_path: Path) -> None:
    assert read_swf(written(tmp_path, "; MaxNodes: 8\n" + job())).machine_processors == 8


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER, "has no job"),
        (HEADER + "1 2 3\n", "line 4: 3 fields"),
        (HEADER + job().replace(" 60 ", " sixty "), "line 4: requested time is 'sixty'"),
        (HEADER + job().replace(" 60 ", " nan "), "requested time is 'nan'"),
        (HEADER + job(requested=9), "job of 9 or of 9 processors"),
        (HEADER + job(allocated=0, requested=0), "job of 0"),
        ("; MaxNodes: 9\n; MaxProcs: 8\n" + job(), "9 nodes have 8 processors"),
        (HEADER + "1 " * 40_000, "characters"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_swf(written(tmp_path, text))


def test_a_missing_file_and_a_damaged_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cannot read the trace"):
        read_swf(tmp_path / "none")
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress((HEADER + job()).encode())[:-9])
    with pytest.raises(Corrupted, match="damaged"):
        read_swf(cut)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Corrupted, match="damaged"):
        read_swf(binary)
