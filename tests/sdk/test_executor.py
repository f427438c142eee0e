"""`farlane.Executor` means what the standard library says."""

from __future__ import annotations

import concurrent.futures
import math
import threading
from collections.abc import Callable

import pytest

import farlane
from farlane.errors import Conflict, InvalidInput, InvalidJob
from farlane.testing.fake_hub import FakeHub

Eventually = Callable[[Callable[[], bool]], None]


def square(x: int) -> int:
    return x * x


def fails(x: int) -> int:
    raise ValueError(f"not {x}")


class Counter:
    def __init__(self) -> None:
        self.value = 0

    def get(self) -> int:
        return self.value


def test_submit_gives_futures_that_the_standard_library_can_wait_for(app: farlane.App) -> None:
    with farlane.Executor(app) as executor:
        futures = [executor.submit(square, x) for x in range(50)]
        done, waiting = concurrent.futures.wait(futures, timeout=20)
        assert (len(done), len(waiting)) == (50, 0)
        assert [future.result() for future in futures] == [x * x for x in range(50)]
        assert sorted(f.result() for f in concurrent.futures.as_completed(futures)) == [
            x * x for x in range(50)
        ]


def test_map_keeps_the_order(app: farlane.App, hub: FakeHub) -> None:
    with farlane.Executor(app, cpu=2) as executor:
        assert list(executor.map(pow, range(100), [2] * 100)) == [x * x for x in range(100)]
        assert list(executor.map(math.sqrt, [4, 9])) == [2, 3]
    assert {job.spec.resources.cpu_milli for job in hub.jobs.values()} == {2000}
    assert len(hub.jobs) == 2


def test_an_exception_is_the_futures_exception(app: farlane.App) -> None:
    with farlane.Executor(app) as executor:
        future = executor.submit(fails, 3)
        assert isinstance(future.exception(10), ValueError)
        with pytest.raises(ValueError, match="not 3") as caught:
            future.result()
        assert "in fails" in str(caught.value.__cause__)
        with pytest.raises(ValueError, match="not 1"):
            list(executor.map(fails, [1, 2]))


def test_a_method_is_sent_with_its_object_as_it_is_then(app: farlane.App) -> None:
    counter = Counter()
    with farlane.Executor(app) as executor:
        values = []
        for counter.value in range(3):
            values.append(executor.submit(counter.get).result(10))
    assert values == [0, 1, 2]


def test_closures_share_one_job(app: farlane.App, hub: FakeHub) -> None:
    with farlane.Executor(app) as executor:
        futures = [executor.submit(lambda x=x: x + 1) for x in range(20)]
        assert [future.result(10) for future in futures] == list(range(1, 21))
    assert len(hub.jobs) == 1


def test_what_cannot_be_sent_is_the_futures_exception(app: farlane.App) -> None:
    lock = threading.Lock()
    with farlane.Executor(app) as executor:
        with pytest.raises(InvalidJob, match=r"'lock' of .* is a _thread.lock"):
            executor.submit(lambda: lock).result(10)
        assert executor.submit(square, 3).result(10) == 9


def test_what_has_not_been_sent_can_be_cancelled(app: farlane.App, hub: FakeHub) -> None:
    hub.hold()
    with farlane.Executor(app, max_running=2) as executor:
        futures = [executor.submit(square, x) for x in range(6)]
        assert futures[5].cancel()
        assert not futures[0].cancel()
        assert futures[0].running()
        hub.release()
        assert [future.result(10) for future in futures[:5]] == [x * x for x in range(5)]
        with pytest.raises(concurrent.futures.CancelledError):
            futures[5].result()
    assert sum(len(job.payloads) for job in hub.jobs.values()) == 5


def test_shutdown_waits_for_calls_and_then_refuses_more(app: farlane.App, hub: FakeHub) -> None:
    hub.hold()
    executor = farlane.Executor(app, max_running=1)
    futures = [executor.submit(square, x) for x in range(3)]
    executor.shutdown(wait=False)
    with pytest.raises(Conflict, match="has been shut down"):
        executor.submit(square, 1)
    hub.release()
    executor.shutdown(wait=True)
    assert [future.done() for future in futures] == [True] * 3
    assert [future.result() for future in futures] == [0, 1, 4]


def test_shutdown_can_cancel_what_waits(app: farlane.App, hub: FakeHub) -> None:
    hub.hold()
    executor = farlane.Executor(app, max_running=1)
    futures = [executor.submit(square, x) for x in range(3)]
    releasing = threading.Timer(0.1, hub.release)
    releasing.start()
    executor.shutdown(wait=True, cancel_futures=True)
    releasing.join()
    assert [future.cancelled() for future in futures] == [False, True, True]
    assert futures[0].result() == 0


def test_an_executor_that_may_run_nothing_is_refused(app: farlane.App) -> None:
    with pytest.raises(InvalidInput, match="max_running is 0"):
        farlane.Executor(app, max_running=0)
    with pytest.raises(InvalidJob, match="cpu is 0"):
        farlane.Executor(app, cpu=0)
