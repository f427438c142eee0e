"""Functions beyond their plain faults: sizes, stubbornness, endless output, other Pythons, packages."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import farlane
from farlane.domain.failures import Blame
from farlane.domain.jobs import FunctionWork, JobSpec
from farlane.errors import InvalidJob, TaskError, Unavailable
from farlane.hub.log_store import CUT_NOTICE
from farlane.sdk.facade import Client
from farlane.sdk.requirements import resolve

SMALL: dict[str, Any] = {"cpu": 0.25, "memory": "128MB"}
PURE = "iniconfig==2.0.0"


@pytest.fixture(scope="module")
def client(network: Any) -> Iterator[Client]:
    with network.client() as connected:
        yield connected


@pytest.fixture
def app(client: Client, network: Any) -> Iterator[farlane.App]:
    """An app, and after each test proof that no task took anything down with it."""
    before = network.pids()
    app = farlane.App("e2e", client)
    yield app
    assert network.pids() == before
    assert app.function(**SMALL)(lambda x: x + 1).remote(1) == 2
    assert [node.state for node in client.nodes()] == ["online", "online"]


def failure_of(call: Callable[[], object]) -> TaskError:
    with pytest.raises(TaskError) as caught:
        call()
    return caught.value


def test_large_arguments_and_results_travel_as_blobs(app: farlane.App) -> None:
    data = os.urandom(1_000_000)
    assert app.function(**SMALL)(lambda given: given[::-1]).remote(data) == data[::-1]


def test_an_argument_or_result_that_cannot_be_pickled_is_told_apart(app: farlane.App) -> None:
    with pytest.raises(InvalidJob, match="lock"):
        app.function(**SMALL)(id).remote(threading.Lock())
    error = failure_of(app.function(**SMALL, retries=2)(threading.Lock).remote)
    assert error.facts["failure"] == "result-unpicklable"
    assert error.facts["blame"] == Blame.PUBLISHER
    assert "lock" in error.message


def test_a_task_that_ignores_signals_is_ended_at_its_time_out_all_the_same(app: farlane.App) -> None:
    @app.function(**SMALL, timeout=1)
    def hang() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        while True:
            time.sleep(0.1)

    begun = time.monotonic()
    assert failure_of(hang.remote).facts["failure"] == "timeout"
    assert time.monotonic() - begun < 20


def printing(megabytes: int) -> Callable[[], int]:
    def work() -> int:
        line = b"all work and no play makes jack a dull boy\n"
        for _ in range(megabytes):
            os.write(1, line * ((1 << 20) // len(line)))
        return megabytes

    return work


@pytest.mark.parametrize("megabytes", [200, pytest.param(1024, marks=pytest.mark.soak)])
def test_endless_output_is_cut_with_a_notice_and_costs_nothing_else(
    app: farlane.App, network: Any, megabytes: int
) -> None:
    call = app.function(**SMALL, timeout=600)(printing(megabytes)).spawn()
    assert call.result(600) == megabytes
    log = network.directory / "hub" / "logs" / f"{call.job.id}.log"
    text = log.read_bytes()
    assert len(text) < 70 << 20
    # Whether the node dropped some on the way or the hub's cap was reached: the log says that it is not all.
    assert CUT_NOTICE in text or b"dropped" in text
    assert b"all work and no play" in network.cli("logs", call.job.id).out[:1000].encode()


def test_a_function_for_another_python_is_never_placed_and_says_why(client: Client, network: Any) -> None:
    function = client.put_bytes(b"nobody will open this")
    spec = JobSpec(name="old", function=FunctionWork(function, "3.9", "f"))
    quote = client.quote(spec)
    assert quote.eligible_nodes == 0
    assert "3.9" in quote.problem
    job = client.submit(spec, [b""])
    why = network.json("why", job.id)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert "3.9" in why["dominant"]
    assert [("3.9" in node["reason"], here in node["reason"]) for node in why["nodes"]] == [(True, True)] * 2
    assert job.status().state == "pending"
    assert job.stop().state == "stopped"


@pytest.mark.real
def test_required_packages_are_there_and_only_there(app: farlane.App) -> None:
    try:
        resolve([PURE])
    except (InvalidJob, Unavailable) as error:
        pytest.skip(f"no package index is reachable: {error.message[:200]}")

    @app.function(**SMALL, requires=[PURE], timeout=120)
    def where() -> tuple[str, str]:
        import importlib.metadata

        import iniconfig

        return iniconfig.__file__, importlib.metadata.version("iniconfig")

    there, version = where.remote()
    assert version == "2.0.0"
    assert not Path(there).is_relative_to(sys.prefix)
    with pytest.raises(InvalidJob, match="no-such-package"):
        app.function(**SMALL, requires=["no-such-package-of-farlane"])(len).remote("x")
