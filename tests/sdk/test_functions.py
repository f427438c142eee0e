"""Functions on the network: every way to call them, over real TLS, against the fake hub."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

import farlane
from farlane.domain.ids import NodeId
from farlane.domain.jobs import JobState
from farlane.errors import Conflict, DeadlineExceeded, InvalidInput, InvalidJob, PermissionRefused, TaskError
from farlane.sdk.facade import Client
from farlane.sdk.mapping import FIRST_WINDOW_ROWS
from farlane.testing.fake_hub import FakeHub

Eventually = Callable[[Callable[[], bool]], None]


def square(x: int) -> int:
    return x * x


def inverse(x: int) -> float:
    return 1 / x


@pytest.fixture
def squared(app: farlane.App) -> farlane.Function[[int], int]:
    return app.function()(square)


def test_local_and_plain_calls_run_here(squared: farlane.Function[[int], int], hub: FakeHub) -> None:
    assert (squared.local(3), squared(4)) == (9, 16)
    assert hub.jobs == {}


def test_remote_calls_share_one_open_job(squared: farlane.Function[[int], int], hub: FakeHub) -> None:
    assert [squared.remote(x) for x in range(5)] == [0, 1, 4, 9, 16]
    assert [(job.spec.name, len(job.payloads), job.sealed) for job in hub.jobs.values()] == [
        ("test.square", 5, False)
    ]


def test_closing_the_client_seals_the_open_job(hub: FakeHub) -> None:
    with Client(hub.url, hub.token) as client:
        assert farlane.App("test", client).function()(square).remote(3) == 9
    assert [job.state for job in hub.jobs.values()] == [JobState.SUCCEEDED]


def test_a_function_is_sent_once(squared: farlane.Function[[int], int], hub: FakeHub) -> None:
    squared.remote(1)
    list(squared.map(range(3)))
    squared.spawn(2).result(10)
    assert hub.blobs.puts == 1


def test_map_yields_in_the_order_of_the_inputs(squared: farlane.Function[[int], int]) -> None:
    assert list(squared.map(range(3000))) == [x * x for x in range(3000)]


def test_map_as_completed_yields_each_result_once(squared: farlane.Function[[int], int]) -> None:
    assert sorted(squared.map(range(3000), ordered=False)) == [x * x for x in range(3000)]


def test_map_takes_several_iterables_and_starmap_takes_tuples(app: farlane.App) -> None:
    add = app.function()(lambda x, y: x + y)
    assert list(add.map([1, 2, 3], [10, 20])) == [11, 22]
    assert list(add.starmap([(1, 2), (3, 4)])) == [3, 7]
    with pytest.raises(InvalidJob, match="starmap takes one iterable of tuples, not 2"):
        next(add.starmap([1], [2]))


def test_map_of_nothing_opens_no_job(squared: farlane.Function[[int], int], hub: FakeHub) -> None:
    assert list(squared.map([])) == []
    assert hub.jobs == {}


def test_a_map_is_one_job_and_ends_it(
    squared: farlane.Function[[int], int], hub: FakeHub, eventually: Eventually
) -> None:
    assert len(list(squared.map(range(2500)))) == 2500
    [job] = hub.jobs.values()
    assert len(job.payloads) == 2500
    eventually(lambda: job.state is JobState.SUCCEEDED)


def test_an_infinite_input_is_read_only_as_far_as_the_window(
    squared: farlane.Function[[int], int], hub: FakeHub, eventually: Eventually
) -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for x in itertools.count(1):
            taken.append(x)
            yield x

    results = squared.map(endless())
    assert list(itertools.islice(results, 5)) == [1, 4, 9, 16, 25]
    assert len(taken) <= FIRST_WINDOW_ROWS + 2 * 5 + 1
    results.close()  # type: ignore[attr-defined]
    eventually(lambda: all(job.final for job in hub.jobs.values()))


def test_the_window_bounds_what_is_in_progress(squared: farlane.Function[[int], int], hub: FakeHub) -> None:
    hub.hold()
    taken: list[int] = []

    def counted() -> Iterator[int]:
        for x in range(100):
            taken.append(x)
            if len(taken) == 10:
                hub.release()
            yield x

    assert list(squared.map(counted(), window=10)) == [x * x for x in range(100)]
    assert taken == list(range(100))
    with pytest.raises(InvalidInput, match="window is 0"):
        squared.map([1], window=0)


def test_results_come_while_a_slow_input_is_still_being_read(squared: farlane.Function[[int], int]) -> None:
    seen = threading.Event()

    def waits_for_its_own_results() -> Iterator[int]:
        yield 1
        deadline = time.monotonic() + 10
        x = 2
        while not seen.is_set():
            assert time.monotonic() < deadline, "no result came while inputs were being made"
            yield x
            x += 1

    results = squared.map(waits_for_its_own_results())
    assert next(results) == 1
    seen.set()
    assert next(results) == 4


def test_leaving_a_map_early_stops_its_job(
    squared: farlane.Function[[int], int], hub: FakeHub, eventually: Eventually
) -> None:
    for result in squared.map(range(100_000)):
        assert result == 0
        break
    eventually(
        lambda: [job.stopped for job in hub.jobs.values()] == ["the caller stopped reading its results"]
    )


def test_an_error_of_the_input_is_raised_and_stops_the_job(
    squared: farlane.Function[[int], int], hub: FakeHub, eventually: Eventually
) -> None:
    hub.hold()

    def breaks() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(squared.map(breaks()))
    eventually(lambda: all(job.final for job in hub.jobs.values()))


def test_a_remote_exception_has_its_type_and_its_traceback(app: farlane.App) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        app.function()(inverse).remote(0)
    assert isinstance(caught.value.__cause__, farlane.RemoteTraceback)
    assert "in inverse" in str(caught.value.__cause__)
    assert "return 1 / x" in str(caught.value.__cause__)


def test_map_raises_the_first_exception_in_order_or_yields_all(
    app: farlane.App, hub: FakeHub, eventually: Eventually
) -> None:
    inverted = app.function()(inverse)
    results = inverted.map([2, 0, 4])
    assert next(results) == 0.5
    with pytest.raises(ZeroDivisionError):
        next(results)
    values = list(inverted.map([2, 0, 4], return_exceptions=True))
    assert [values[0], values[2]] == [0.5, 0.25]
    assert isinstance(values[1], ZeroDivisionError)


def test_an_exception_that_cannot_travel_becomes_a_task_error_with_its_text(app: farlane.App) -> None:
    def fails() -> None:
        class Odd(Exception):
            def __reduce__(self) -> tuple[object, ...]:
                raise TypeError("cannot be pickled")

        raise Odd("very odd")

    with pytest.raises(TaskError, match=r"Odd: very odd .failure: exception, blame: publisher") as caught:
        app.function()(fails).remote()
    assert caught.value.facts["failure"] == "exception"
    assert "very odd" in str(caught.value.__cause__)


def test_an_exit_of_a_task_does_not_end_the_caller(app: farlane.App) -> None:
    def leaves() -> None:
        raise SystemExit(3)

    with pytest.raises(TaskError, match="SystemExit: 3"):
        app.function()(leaves).remote()


def test_a_result_that_cannot_be_opened_here_says_so(app: farlane.App) -> None:
    class Spiteful:
        def __reduce__(self) -> tuple[object, ...]:
            return int, ("not a number",)

    with pytest.raises(TaskError, match="cannot be opened here: ValueError") as caught:
        app.function()(lambda count: [Spiteful()] * count).remote(2)
    assert caught.value.facts["blame"] == "publisher"


def test_results_of_a_node_that_is_not_trusted_are_not_opened(hub: FakeHub) -> None:
    asked: list[NodeId] = []

    def nobody(node: NodeId) -> bool:
        asked.append(node)
        return False

    with Client(hub.url, hub.token, trust=nobody) as client:
        app = farlane.App("test", client)
        with pytest.raises(PermissionRefused, match="node fake-node, which is not trusted"):
            app.function()(square).remote(3)
        with pytest.raises(TaskError, match="ZeroDivisionError: division by zero"):
            app.function()(inverse).remote(0)
    assert asked == ["fake-node", "fake-node"]


def test_spawned_calls_share_few_jobs_and_come_back_right(
    squared: farlane.Function[[int], int], hub: FakeHub, eventually: Eventually
) -> None:
    calls = [squared.spawn(x) for x in range(1000)]
    assert [call.result(30) for call in calls] == [x * x for x in range(1000)]
    assert len(hub.jobs) < 20
    eventually(lambda: all(job.final for job in hub.jobs.values()))


def test_a_call_knows_its_task_its_job_and_why_it_waits(
    squared: farlane.Function[[int], int], hub: FakeHub
) -> None:
    hub.hold()
    call = squared.spawn(3)
    assert (call.task, call.job.id, call.done()) == ("j1.0", "j1", False)
    assert call.why().dominant == "every node is busy"
    with pytest.raises(DeadlineExceeded, match=r"has not ended within 0.01 s; it goes on"):
        call.result(0.01)
    hub.release()
    assert call.result(10) == 9
    assert call.job.wait(10).state is JobState.SUCCEEDED
    assert call.stop() is False


def test_a_timeout_raised_by_the_function_is_not_taken_for_ours(app: farlane.App) -> None:
    def slow() -> None:
        raise TimeoutError("the database did not answer")

    with pytest.raises(TimeoutError, match="the database did not answer"):
        app.function()(slow).spawn().result(10)


def test_a_lone_call_can_be_stopped_and_shared_ones_say_why_not(
    squared: farlane.Function[[int], int], hub: FakeHub
) -> None:
    hub.hold()
    lone = squared.spawn(3)
    assert lone.task == "j1.0"
    assert lone.stop() is True
    with pytest.raises(TaskError, match=r"stopped by its caller .failure: cancelled"):
        lone.result(10)
    together = [squared.spawn(x) for x in range(50)]
    assert together[-1].task
    sharing = [call for call in together if len(hub.jobs[call.job.job].payloads) > 1]
    with pytest.raises(Conflict, match=r"shares a job with .* unfinished others"):
        sharing[0].stop()
    hub.release()
    assert [call.result(10) for call in together] == [x * x for x in range(50)]


def test_what_a_call_prints_can_be_read(app: farlane.App) -> None:
    def speaks(x: int) -> int:
        print("hello", x)
        return x

    call = app.function()(speaks).spawn(7)
    assert call.result(10) == 7
    assert b"".join(chunk.data for chunk in call.logs()) == b"hello 7\n"


def test_with_a_budget_or_a_deadline_each_submission_is_a_job_of_its_own(
    app: farlane.App, hub: FakeHub
) -> None:
    capped = app.function(budget=1)(square)
    assert [capped.remote(x) for x in range(3)] == [0, 1, 4]
    assert [(len(job.payloads), job.sealed, job.spec.budget) for job in hub.jobs.values()] == [
        (1, True, 10**9)
    ] * 3
    timed = app.function(deadline="1h")(square)
    before = time.time()
    assert timed.remote(5) == 25
    deadline = hub.jobs[max(hub.jobs)].spec.deadline_at
    assert deadline is not None
    assert before + 3600 <= deadline <= time.time() + 3600


def test_an_open_job_that_somebody_stopped_is_replaced(
    squared: farlane.Function[[int], int], client: Client, hub: FakeHub
) -> None:
    assert squared.remote(2) == 4
    client.job("j1").stop("an operator was here")
    assert squared.remote(3) == 9
    assert len(hub.jobs) == 2


def test_functions_call_each_other_on_a_worker(app: farlane.App) -> None:
    inner = app.function()(square)

    @app.function()
    def outer(x: int) -> int:
        return inner.local(x) + inner(1)

    assert outer.remote(3) == 10


def test_large_arguments_and_results_travel_as_blobs(app: farlane.App, hub: FakeHub) -> None:
    double = app.function()(lambda data: data + data)
    inputs = [bytes([n]) * 100_000 for n in range(12)]
    assert list(double.map(inputs)) == [data + data for data in inputs]
    assert double.remote(b"x" * 70_000) == b"x" * 140_000
    assert double.spawn(b"y" * 70_000).result(10) == b"y" * 140_000
    assert hub.blobs.puts == 1 + len(inputs) + 2


def test_an_estimate_submits_nothing(squared: farlane.Function[[int], int], hub: FakeHub) -> None:
    quote = squared.estimate(1000)
    assert (quote.upper_bound, quote.eligible_nodes) == (1000, 1)
    assert hub.jobs == {}


async def test_the_asyncio_twins_run_on_the_callers_loop(app: farlane.App) -> None:
    squared = app.function()(square)
    assert await squared.remote.aio(3) == 9
    assert await asyncio.gather(*(squared.remote.aio(x) for x in range(20))) == [x * x for x in range(20)]
    assert [value async for value in squared.map.aio(range(2000))] == [x * x for x in range(2000)]
    assert await squared.spawn(5) == 25

    async def arriving() -> AsyncIterator[int]:
        for x in range(5):
            await asyncio.sleep(0)
            yield x

    assert [value async for value in squared.map.aio(arriving())] == [0, 1, 4, 9, 16]
    pairs = app.function()(lambda x, y: x * y)
    assert [value async for value in pairs.starmap.aio([(2, 3), (4, 5)], ordered=False)] == [6, 20]
    failing = app.function()(inverse)
    assert [type(value) async for value in failing.map.aio([0], return_exceptions=True)] == [
        ZeroDivisionError
    ]


async def test_a_slow_asynchronous_input_does_not_hold_back_results(app: farlane.App) -> None:
    squared = app.function()(square)
    seen = asyncio.Event()

    async def waits_for_its_own_result() -> AsyncIterator[int]:
        yield 3
        async with asyncio.timeout(10):
            await seen.wait()
        yield 4

    values = []
    async for value in squared.map.aio(waits_for_its_own_result()):
        values.append(value)
        seen.set()
    assert values == [9, 16]


def test_an_interrupt_stops_the_wait_and_the_call(
    squared: farlane.Function[[int], int], hub: FakeHub, eventually: Eventually
) -> None:
    hub.hold()
    interrupter = threading.Thread(
        target=_interrupt_when, args=(lambda: bool(hub.jobs and hub.jobs[1].payloads),)
    )  # type: ignore[index]
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        squared.remote(3)
    interrupter.join()
    eventually(lambda: [job.stopped for job in hub.jobs.values()] == ["stopped by its caller"])
    hub.release()
    assert squared.remote(4) == 16


def test_an_interrupt_of_a_map_stops_its_job(
    squared: farlane.Function[[int], int], hub: FakeHub, eventually: Eventually
) -> None:
    hub.hold()
    interrupter = threading.Thread(
        target=_interrupt_when, args=(lambda: bool(hub.jobs and hub.jobs[1].payloads),)
    )  # type: ignore[index]
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        list(squared.map(range(10)))
    interrupter.join()
    eventually(lambda: [job.state for job in hub.jobs.values()] == [JobState.STOPPED])


def _interrupt_when(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
