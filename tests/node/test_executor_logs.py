"""Output finds its task, live and complete, and a flood of it harms nobody."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.node.executors.log_capture import StreamCapture
from farlane.node.executors.port import CommandCall, Output, Started
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.node.executors.worker_streams import MARK, NONCE_BYTES
from farlane.testing.executor_driver import ExecutorDriver, value_of

MIB = 1 << 20
NONCE = b"\x00nonce" * 2 + b"\x00end"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ExecutorDriver]:
    settings = ProcessExecutorSettings(tmp_path / "scratch", max_log_bytes=MIB)
    async with ExecutorDriver(lambda on_events: ProcessExecutor(settings, on_events), tmp_path) as driver:
        yield driver


async def test_output_is_live(driver: ExecutorDriver, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def talk(gate: str) -> None:
        print("begun")
        while not os.path.exists(gate):
            time.sleep(0.005)
        print("no newline", end="")

    execution = driver.execution(driver.call(talk, str(gate)))
    driver.submit(execution)
    await driver.until(lambda: driver.output(execution.ticket) == b"begun\n")
    assert isinstance(driver.events[0], Started)
    gate.touch()
    await driver.finished(execution.ticket)
    assert driver.output(execution.ticket) == b"begun\nno newline"


async def test_every_way_to_write_finds_its_own_task(driver: ExecutorDriver) -> None:
    def write(name: str) -> None:
        print("print", name)
        os.write(1, f"write {name}\n".encode())
        subprocess.run(["echo", "child", name], check=True)
        sys.stderr.write(f"error {name}")

    executions = [driver.execution(driver.call(write, str(number))) for number in range(20)]
    driver.submit(*executions)
    for number, execution in enumerate(executions):
        await driver.finished(execution.ticket)
        assert driver.output(execution.ticket) == f"print {number}\nwrite {number}\nchild {number}\n".encode()
        assert driver.output(execution.ticket, "stderr") == f"error {number}".encode()


async def test_what_a_left_child_prints_is_not_given_to_the_next_task(driver: ExecutorDriver) -> None:
    script = "(while true; do echo noise; sleep 0.001; done) & sleep 0.05; echo done"
    first = driver.execution(CommandCall(script))
    second = driver.execution(CommandCall("sleep 0.1; echo quiet"))
    driver.submit(first, second)
    await driver.finished(second.ticket)
    assert b"noise" in driver.output(first.ticket)
    assert driver.output(second.ticket) == b"quiet\n"


async def test_a_gigabyte_of_prints_is_cut_and_stalls_nobody(driver: ExecutorDriver) -> None:
    def flood() -> str:
        line = "x" * 65_535 + "\n"
        for _ in range(16_384):
            sys.stdout.write(line)
        return "done"

    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flooding = driver.execution(driver.call(flood), timeout_s=100)
    driver.submit(flooding)
    await driver.until(lambda: bool(driver.events))
    neighbour = driver.execution(driver.call(lambda: print("hello")))
    driver.submit(neighbour, publisher="another")
    await driver.finished(neighbour.ticket)
    assert driver.output(neighbour.ticket) == b"hello\n"
    assert value_of(await driver.finished(flooding.ticket)) == "done"
    kept = driver.output(flooding.ticket)
    assert kept[:MIB] == (b"x" * 65_535 + b"\n") * 16
    assert b"output truncated" in kept[MIB:]
    assert len(kept) < MIB + 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kib + 64 * 1024


async def test_the_cap_is_per_task(driver: ExecutorDriver) -> None:
    call = driver.call(lambda: print("y" * (MIB - 1)))
    executions = [driver.execution(call) for _ in range(3)]
    driver.submit(*executions)
    for execution in executions:
        await driver.finished(execution.ticket)
        assert driver.output(execution.ticket) == b"y" * (MIB - 1) + b"\n"


async def test_output_is_passed_on_in_pieces_of_reasonable_size(driver: ExecutorDriver) -> None:
    def chatter() -> None:
        for number in range(5000):
            print(number)

    execution = driver.execution(driver.call(chatter))
    driver.submit(execution)
    await driver.finished(execution.ticket)
    pieces = [event for event in driver.events if isinstance(event, Output)]
    assert b"".join(piece.data for piece in pieces) == b"".join(b"%d\n" % number for number in range(5000))
    assert len(pieces) < 500


@given(
    outputs=st.lists(
        st.binary(max_size=60) | st.just(NONCE[:5]) | st.just(b"\x00" * 30), min_size=1, max_size=8
    ),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
def test_any_cut_of_the_stream_gives_each_task_its_own_bytes(outputs: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(output + MARK.pack(NONCE, number) for number, output in enumerate(outputs, 1))
    capture = StreamCapture(NONCE, 1000)
    position, found = 0, {}
    while position < len(stream):
        for cut in cuts:
            capture.feed(stream[position : position + cut])
            position += cut
    for number, piece in capture.take():
        found[number] = found.get(number, b"") + piece
    assert capture.complete == len(outputs)
    assert found == {number: output for number, output in enumerate(outputs, 1) if output}


def test_the_beginning_of_a_mark_is_held_back_and_nothing_else() -> None:
    capture = StreamCapture(NONCE, 100)
    capture.feed(b"text" + NONCE[:1])
    assert capture.take() == [(1, b"text")]
    capture.feed(b"more")
    assert capture.take() == [(1, NONCE[:1] + b"more")]


def test_a_forged_mark_neither_completes_nor_shifts_a_task() -> None:
    capture = StreamCapture(NONCE, 100)
    capture.feed(b"a" + MARK.pack(NONCE, 7) + b"b")
    assert capture.complete == 0
    capture.feed(MARK.pack(NONCE, 1) + b"c")
    assert capture.complete == 1
    assert capture.take() == [(1, b"ab"), (2, b"c")]


def test_a_run_of_marks_is_counted() -> None:
    capture = StreamCapture(NONCE, 100)
    capture.feed(b"".join(MARK.pack(NONCE, number) for number in range(1, 100)))
    assert capture.complete == 99
    assert capture.take() == []


def test_what_is_left_at_the_end_belongs_to_the_task_that_ran() -> None:
    capture = StreamCapture(NONCE, 100)
    capture.feed(MARK.pack(NONCE, 1) + b"last words" + NONCE[:4])
    capture.finish()
    assert capture.take() == [(2, b"last words" + NONCE[:4])]


def test_the_cap_cuts_once_and_counts_anew_for_the_next_task() -> None:
    capture = StreamCapture(NONCE, 10)
    capture.feed(b"0123456")
    capture.feed(b"789abc")
    capture.feed(b"def" + MARK.pack(NONCE, 1) + b"next")
    [(_, first), (number, second)] = capture.take()
    assert first.startswith(b"0123456789\n[farlane] output truncated")
    assert first.count(b"truncated") == 1
    assert (number, second) == (2, b"next")


def test_the_nonce_has_the_length_that_marks_have() -> None:
    assert len(NONCE) == NONCE_BYTES
