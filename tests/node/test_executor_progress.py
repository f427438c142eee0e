"""The shared memory between node and worker, and the frames they exchange."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import Corrupted
from farlane.node.executors import frames
from farlane.node.executors.progress import MAX_ITEMS, OUTBOX_BYTES, Progress, Running, create_progress_file


@pytest.fixture
def ends() -> tuple[Progress, Progress]:
    descriptor = create_progress_file()
    ends = Progress(descriptor), Progress(descriptor)
    os.close(descriptor)
    return ends


def test_one_end_sees_what_the_other_runs(ends: tuple[Progress, Progress]) -> None:
    worker, node = ends
    assert node.running() is None
    worker.begin(1, 111, 222)
    assert node.running() == Running(1, 111, 222)
    worker.finish(1)
    assert node.running() is None
    worker.begin(2, 333, 444)
    assert node.running() == Running(2, 333, 444)


def test_cancel_flags_of_all_items_of_a_frame_are_apart(ends: tuple[Progress, Progress]) -> None:
    worker, node = ends
    node.set_cancelled(5, True)
    assert [number for number in range(1, MAX_ITEMS + 1) if worker.is_cancelled(number)] == [5]
    node.set_cancelled(5, False)
    assert not worker.is_cancelled(5)


def test_the_outbox_is_read_without_taking_from_it(ends: tuple[Progress, Progress]) -> None:
    worker, node = ends
    assert node.peek() == b""
    assert worker.post(b"first")
    assert worker.post(b"second")
    assert node.peek() == b"firstsecond" == bytes(worker.pending())
    worker.sent()
    assert node.peek() == b""
    assert worker.post(b"third")
    assert node.peek() == b"third"


def test_a_full_outbox_refuses(ends: tuple[Progress, Progress]) -> None:
    worker, node = ends
    assert worker.post(b"x" * OUTBOX_BYTES)
    assert not worker.post(b"y")
    assert node.peek() == b"x" * OUTBOX_BYTES


def test_the_file_cannot_change_its_size() -> None:
    descriptor = create_progress_file()
    size = os.fstat(descriptor).st_size
    for other in (0, 2 * size):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, other)
    os.close(descriptor)


def result(sequence: int, payload: bytes = b"") -> frames.Result:
    return frames.Result(sequence, frames.VALUE, payload, "", "", 1, 2, 3, 4)


@given(payloads=st.lists(st.binary(max_size=100), max_size=6), cut=st.integers(0, 500))
def test_whole_frames_are_decoded_and_the_rest_is_left(payloads: list[bytes], cut: int) -> None:
    sent = [result(number, payload) for number, payload in enumerate(payloads)]
    stream = bytearray(b"".join(frames.framed(frames.encoder.encode(one)) for one in sent))
    first, used = frames.split_results(stream[:cut])
    second, rest = frames.split_results(stream[used:])
    assert first + second == sent
    assert used + rest == len(stream)
    assert used <= cut


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 50, frames.framed(b"not msgpack"), frames.framed(frames.encoder.encode([1, 2]))]
)
def test_what_no_worker_sends_is_corrupted(garbage: bytes) -> None:
    with pytest.raises(Corrupted):
        frames.split_results(garbage)
