"""A supervisor never loses a child, its death or a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from random import Random

import pytest

from farlane.errors import Internal
from farlane.kit.backoff import Backoff
from farlane.kit.tasks import TaskSupervisor

FAST = Backoff(first_s=0.001, cap_s=0.002)


async def die(message: str = "boom") -> None:
    raise ValueError(message)


async def forever(ended: list[str] | None = None, name: str = "x") -> None:
    try:
        await asyncio.Event().wait()
    finally:
        if ended is not None:
            ended.append(name)


async def block(body: Callable[[TaskSupervisor], Awaitable[object]]) -> None:
    async with TaskSupervisor("test") as tasks:
        await body(tasks)


async def supervise(**works: Coroutine[None, None, None]) -> None:
    """Start these and wait for ever."""
    async with TaskSupervisor("test") as tasks:
        for name, work in works.items():
            tasks.start(work, name)
        await asyncio.Event().wait()


async def test_leaving_the_block_cancels_and_awaits_the_children() -> None:
    ended: list[str] = []
    async with TaskSupervisor("test") as tasks:
        tasks.start(forever(ended, "a"), "a")
        tasks.start(forever(ended, "b"), "b")
        await asyncio.sleep(0)
    assert sorted(ended) == ["a", "b"]


async def test_a_child_may_return_a_value() -> None:
    async def answer() -> int:
        return 42

    async with TaskSupervisor("test") as tasks:
        assert await tasks.start(answer(), "answer") == 42


async def test_a_dead_child_ends_the_block_and_its_siblings(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []
    with pytest.raises(Internal, match="task 'bad' of 'test' died: ValueError: boom") as caught:
        await supervise(good=forever(ended), bad=die())
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.facts == {"task": "bad", "supervisor": "test"}
    assert ended == ["x"]
    assert "task bad of test died" in caplog.text
    assert "in die" in caplog.text  # the traceback is there
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_wait_ends_with_the_children() -> None:
    async with TaskSupervisor("test") as tasks:
        done = [tasks.start(asyncio.sleep(0), "a"), tasks.start(asyncio.sleep(0.001), "b")]
        await tasks.wait()
        assert all(task.done() for task in done)


async def test_wait_is_cut_short_by_a_death() -> None:
    async def body(tasks: TaskSupervisor) -> None:
        tasks.start(die(), "bad")
        await tasks.wait()

    with pytest.raises(Internal):
        await block(body)


async def test_a_death_seen_only_when_the_block_ends_still_counts() -> None:
    async def dies_on_cancel() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("cleanup failed")

    async def body(tasks: TaskSupervisor) -> None:
        tasks.start(dies_on_cancel(), "bad")
        await asyncio.sleep(0)

    with pytest.raises(Internal, match="cleanup failed"):
        await block(body)


async def test_a_cancellation_not_yet_delivered_does_not_leak_out_of_the_block() -> None:
    async def body(tasks: TaskSupervisor) -> None:
        tasks.start(die(), "bad")
        await asyncio.sleep(0)  # the child has died, but the loop has not told the supervisor yet
        await tasks.wait()  # tells it, and returns at once with our own cancellation pending

    with pytest.raises(Internal):
        await block(body)
    await asyncio.sleep(0)  # would raise CancelledError if our own cancellation were still pending


async def test_a_block_that_swallows_the_cancellation_still_reports_the_death() -> None:
    async def body(tasks: TaskSupervisor) -> None:
        tasks.start(die(), "bad")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    with pytest.raises(Internal):
        await block(body)


async def test_an_error_of_the_block_passes() -> None:
    ended: list[str] = []

    async def body(tasks: TaskSupervisor) -> None:
        tasks.start(forever(ended), "a")
        await asyncio.sleep(0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await block(body)
    assert ended == ["x"]


async def test_an_optional_child_only_leaves_a_log(caplog: pytest.LogCaptureFixture) -> None:
    async with TaskSupervisor("test") as tasks:
        tasks.start(die("unimportant"), "extra", optional=True)
        await tasks.wait()
    assert "unimportant" in caplog.text


async def test_only_the_first_death_is_the_cause_and_all_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Internal, match="first"):
        await supervise(one=die("first"), two=die("second"))
    assert "second" in caplog.text


async def test_cancelling_a_child_on_purpose_is_no_death() -> None:
    async with TaskSupervisor("test") as tasks:
        child = tasks.start(forever(), "a")
        await asyncio.sleep(0)
        child.cancel()
        await tasks.wait()
        assert child.cancelled()


async def test_a_cancellation_nobody_asked_for_is_a_death() -> None:
    async def awaits_a_cancelled_future() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(Internal, match="nobody cancelled the task itself"):
        await supervise(call=awaits_a_cancelled_future())


async def test_outer_cancellation_cancels_the_children_and_passes() -> None:
    ended: list[str] = []

    async def service() -> None:
        async with TaskSupervisor("test") as tasks:
            tasks.start(forever(ended), "a")
            await asyncio.Event().wait()

    running = asyncio.create_task(service())
    await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["x"]


async def test_outer_cancellation_goes_before_a_death() -> None:
    async def service() -> None:
        async with TaskSupervisor("test") as tasks:
            tasks.start(die(), "bad")
            await asyncio.Event().wait()

    running = asyncio.create_task(service())
    await asyncio.sleep(0)  # the block waits, the child has not run yet
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_outer_cancellation_in_one_round_with_a_death_goes_first() -> None:
    async def service() -> None:
        async with TaskSupervisor("test") as tasks:
            child = tasks.start(die(), "bad")
            child.add_done_callback(lambda _: running.cancel())
            await asyncio.Event().wait()

    running = asyncio.create_task(service())
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_outer_cancellation_after_a_death_goes_first(caplog: pytest.LogCaptureFixture) -> None:
    closing = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closing.set()
            await asyncio.sleep(0.01)

    async def service() -> None:
        async with TaskSupervisor("test") as tasks:
            tasks.start(slow_to_end(), "slow")
            tasks.start(die(), "bad")
            await asyncio.Event().wait()

    running = asyncio.create_task(service())
    await closing.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "task bad of test died" in caplog.text


async def test_a_timeout_that_strikes_while_a_death_is_cleaned_up_is_a_timeout() -> None:
    closing = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closing.set()
            await asyncio.sleep(0.01)

    async def limited() -> None:
        async with asyncio.timeout(None) as limit, TaskSupervisor("test") as tasks:
            tasks.start(slow_to_end(), "slow")
            tasks.start(die(), "bad")
            tasks.start(strike(limit), "strike", optional=True)
            await asyncio.Event().wait()

    async def strike(limit: asyncio.Timeout) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        limit.reschedule(asyncio.get_running_loop().time())

    with pytest.raises(TimeoutError):
        await limited()
    current = asyncio.current_task()
    assert closing.is_set()
    assert current is not None
    assert current.cancelling() == 0


async def test_timeout_around_a_block_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(supervise(a=forever()), 0.01)


async def test_a_second_cancellation_during_close_still_awaits_the_children() -> None:
    closing, ended = asyncio.Event(), []

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closing.set()
            await asyncio.sleep(0.01)
            ended.append("slow")

    async def service() -> None:
        async with TaskSupervisor("test") as tasks:
            tasks.start(slow_to_end(), "slow")
            await asyncio.sleep(0)

    running = asyncio.create_task(service())
    await closing.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["slow"]


async def test_a_slow_close_names_whom_it_waits_for() -> None:
    release = asyncio.Event()

    class Released(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "test still waits for cancelled tasks: stubborn":
                release.set()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()  # only the warning ends this

    logger, handler = logging.getLogger("farlane.kit.tasks"), Released()
    logger.addHandler(handler)
    try:
        async with asyncio.timeout(5), TaskSupervisor("test", close_warning_s=0.005) as tasks:
            tasks.start(stubborn(), "stubborn")
            await asyncio.sleep(0)
    finally:
        logger.removeHandler(handler)
    assert release.is_set()


async def test_a_child_whose_end_the_loop_has_not_told_yet_does_not_hang_the_close() -> None:
    async with asyncio.timeout(5), TaskSupervisor("test") as tasks:
        child = tasks.start(asyncio.sleep(0), "a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert child.done()
    assert not child.cancelled()


async def test_a_child_may_close_its_own_supervisor() -> None:
    ended: list[str] = []
    async with asyncio.timeout(5), TaskSupervisor("test") as tasks:

        async def closer() -> None:
            await tasks.close()
            ended.append("closer")

        tasks.start(forever(ended, "sibling"), "sibling")
        child = tasks.start(closer(), "closer")
        await asyncio.wait([child])
    assert ended[0] == "sibling"


async def test_starting_outside_the_block_is_refused() -> None:
    tasks = TaskSupervisor("test")
    with pytest.raises(Internal, match="not entered yet"):
        tasks.start(die(), "early")
    async with tasks:
        pass
    with pytest.raises(Internal, match="closing"):
        tasks.start(die(), "late")
    with pytest.raises(Internal, match="entered twice"):
        await tasks.__aenter__()


async def test_a_restarting_child_comes_back_until_it_returns(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    async def flaky() -> None:
        tries.append(len(tries))
        if len(tries) == 2:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        if len(tries) < 4:
            raise ValueError(f"try {len(tries)}")

    async with TaskSupervisor("test") as tasks:
        await tasks.start_restarting(flaky, "flaky", backoff=FAST, random=Random(1))
    assert len(tries) == 4
    assert caplog.text.count("task flaky of test died; next try in") == 3


async def test_a_restarting_child_can_be_cancelled() -> None:
    async with TaskSupervisor("test") as tasks:
        child = tasks.start_restarting(forever, "a", backoff=FAST, random=Random(1))
        await asyncio.sleep(0)
    assert child.cancelled()


async def test_pauses_start_over_after_a_long_run() -> None:
    backoff = Backoff(first_s=0.001, cap_s=0.004, factor=4)
    draws: list[float] = []

    class Recorder(Random):
        def uniform(self, a: float, b: float) -> float:
            draws.append(b)
            return 0.0

    async def flaky() -> None:
        if len(draws) == 2:
            await asyncio.sleep(0.01)
        if len(draws) < 4:
            raise ValueError

    async with TaskSupervisor("test") as tasks:
        await tasks.start_restarting(flaky, "flaky", backoff=backoff, random=Recorder())
    assert draws == [0.001, 0.004, 0.001, 0.004]
