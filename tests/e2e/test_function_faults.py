"""What a function may do wrong, through a real network: each ends with its own message and blame."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farlane import App
from farlane.app.network import NodePlan, down, up
from farlane.errors import FarlaneError, InvalidJob, TaskError
from farlane.sdk.context import read_client_file
from farlane.sdk.facade import Client
from farlane.sdk.outcomes import RemoteTraceback

WAIT_S = 60.0


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("network")
    root.chmod(0o700)
    up(root, [NodePlan("one", {"cpu": "2", "memory": "2GiB"})], port=0)
    try:
        endpoint = read_client_file(root)
        with Client(endpoint.url, endpoint.token) as client:
            yield client
    finally:
        down(root)


def run(client: Client, body: Callable[..., Any], *args: Any, **options: Any) -> Any:
    settings: dict[str, Any] = {"memory": "200MB", "disk": "50MB", "timeout": 20} | options
    return App("faults", client).function(**settings)(body).spawn(*args).result(timeout=WAIT_S)


def raises(x: int) -> int:
    return 1 // x


def leaves() -> None:
    os._exit(7)


def segfaults() -> None:
    import ctypes

    ctypes.string_at(0)


def hangs() -> None:
    import time

    time.sleep(60)


def eats() -> int:
    kept = []
    while True:
        kept.append(bytearray(20_000_000))


def prints() -> str:
    line = "x" * 999
    for _ in range(200_000):
        print(line)
    return "done"


def test_an_exception_comes_back_as_itself_with_the_remote_traceback(client: Client) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(client, raises, 0)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "return 1 // x" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("body", "options", "kind", "says"),
    [
        (leaves, {}, "worker-exit", "7"),
        (segfaults, {}, "signal", "SIGSEGV"),
        (hangs, {"timeout": 1}, "timeout", "1"),
        (eats, {"memory": "150MB"}, "memory", "memory"),
    ],
)
def test_a_fault_has_its_kind_its_blame_and_a_clear_message(
    client: Client, body: Callable[[], Any], options: dict[str, Any], kind: str, says: str
) -> None:
    with pytest.raises(TaskError, match=says) as caught:
        run(client, body, **options)
    assert caught.value.facts["failure"] == kind
    assert caught.value.facts["blame"] == "publisher"


def test_two_hundred_megabytes_of_output_harm_nobody(client: Client) -> None:
    assert run(client, prints, timeout=60) == "done"
    assert run(client, raises, 1) == 1


def test_a_function_that_cannot_be_pickled_never_leaves_the_client(client: Client) -> None:
    lock = threading.Lock()

    def holds() -> bool:
        return lock.locked()

    with pytest.raises(InvalidJob, match="lock"):
        run(client, holds)


def test_a_fault_is_retried_as_often_as_asked(client: Client, tmp_path: Path) -> None:
    marker = str(tmp_path / "tries")

    def third_time_lucky() -> int:
        with open(marker, "a") as file:
            file.write("x")
        tries = os.path.getsize(marker)
        if tries < 3:
            raise ValueError(tries)
        return tries

    assert run(client, third_time_lucky, retries=2) == 3


def test_an_impossible_request_says_why_it_waits(client: Client) -> None:
    call = App("faults", client).function(gpu="A100:1")(raises).spawn(1)
    end = time.monotonic() + WAIT_S
    while True:
        try:
            found = call.why()
            break
        except FarlaneError:
            assert time.monotonic() < end
    assert "A100" in found.dominant
    assert found.fix
    assert [node.name for node in found.nodes] == ["one"]
    assert call.stop()
