"""The synchronous side: the shared client, the portal's loop, forks, and the end of the program."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

import farlane
from farlane.domain.jobs import FunctionWork, JobSpec, JobState
from farlane.errors import Conflict, DeadlineExceeded, NotFound
from farlane.sdk.call_jobs import PendingCall
from farlane.sdk.call_pool import CallPool
from farlane.sdk.calls import OutcomeFuture
from farlane.sdk.client import AsyncClient
from farlane.sdk.facade import Client, shared_client
from farlane.sdk.pickling import pickle_call, pickle_function
from farlane.testing.fake_hub import FakeHub

Eventually = Callable[[Callable[[], bool]], None]
SCRIPT = """
import farlane
app = farlane.App("script")

@app.function()
def square(x):
    return x * x

print(square.remote(3), list(square.map(range(4))))
square.spawn(5)
"""
FORK = """
import asyncio, os, sys
from farlane.sdk.portal import portal

async def answer():
    return 42

here = portal()
child = os.fork()
if child == 0:
    print(portal().run(answer(), 20), "in the child", flush=True)
    os._exit(0 if portal() is not here else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(here.run(answer(), 20), "in the parent")
"""


def square(x: int) -> int:
    return x * x


def test_an_app_without_a_client_uses_the_current_network(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARLANE_URL", hub.url)
    monkeypatch.setenv("FARLANE_TOKEN", hub.token)
    squared = farlane.App("test").function()(square)
    assert squared.remote(3) == 9
    first = shared_client()
    assert shared_client() is first
    first.close()
    assert squared.remote(4) == 16
    second = shared_client()
    assert second is not first
    second.close()


def test_without_a_network_the_first_call_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("FARLANE_URL", raising=False)
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path))
    with pytest.raises(NotFound, match="run `farlane up`"):
        farlane.App("test").function()(square).remote(3)


def test_a_script_ends_by_itself_and_what_it_spawned_goes_on(
    hub: FakeHub, tmp_path: Path, eventually: Eventually
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    env = {**os.environ, "FARLANE_URL": hub.url, "FARLANE_TOKEN": hub.token}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(tmp_path / "script.py")],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "9 [0, 1, 4, 9]\n", "")
    eventually(lambda: [job.state for job in hub.jobs.values()] == [JobState.SUCCEEDED] * 3)
    assert sum(len(job.payloads) for job in hub.jobs.values()) == 6


def test_a_forked_child_has_a_loop_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "42 in the child\n42 in the parent\n"), done.stderr


def test_a_call_from_the_loop_itself_is_refused_instead_of_hanging(client: Client) -> None:
    async def inside() -> None:
        with pytest.raises(Conflict, match="would wait for itself"):
            client.jobs()

    client.portal.run(inside())


def test_a_wait_on_the_portal_ends_at_its_deadline(client: Client) -> None:
    cancelled = threading.Event()

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(DeadlineExceeded, match=r"not done within 0.05 s"):
        client.portal.run(for_ever(), 0.05)
    assert cancelled.wait(10)


def test_posts_run_in_order_and_one_that_fails_does_not_stop_the_rest(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    for number in range(1000):
        client.portal.post(seen.append, number)
    client.portal.post(lambda: seen[-1] // 0)
    client.portal.post(seen.append, 1000)

    async def after() -> None:
        return None

    client.portal.run(after())
    deadline = time.monotonic() + 10
    while len(seen) < 1001 and time.monotonic() < deadline:
        client.portal.run(after())
    assert seen == list(range(1001))
    assert "a call posted to the client's loop failed" in caplog.text


def test_leaving_an_iteration_closes_its_source(client: Client) -> None:
    closed = threading.Event()

    async def bursts() -> AsyncGenerator[list[int], None]:
        try:
            for number in range(100):
                yield [number, number]
        finally:
            closed.set()

    items = client.portal.iterate(bursts())
    assert [next(items), next(items), next(items)] == [0, 0, 1]
    items.close()  # type: ignore[attr-defined]
    assert closed.is_set()


async def test_an_open_job_without_calls_is_sealed_after_a_while(
    aclient: AsyncClient, hub: FakeHub, eventually: Eventually
) -> None:
    async def spec() -> JobSpec:
        ref = await aclient.put_once(pickle_function(square))
        return JobSpec(name="pool", function=FunctionWork(ref, "3.11", "pool"))

    pool = CallPool(aclient, spec, shared=True, idle_s=0.05)

    async def call(x: int) -> int:
        future: OutcomeFuture[int] = OutcomeFuture(aclient.trust)
        pool.submit(PendingCall(pickle_call((x,), {}), future), True)
        return await asyncio.wrap_future(future)

    assert [await call(x) for x in range(3)] == [0, 1, 4]
    await asyncio.to_thread(eventually, lambda: [job.sealed for job in hub.jobs.values()] == [True])
    assert await call(5) == 25
    assert [len(job.payloads) for job in hub.jobs.values()] == [3, 1]
