"""Lost replies, cut connections, restarts and refusals: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from random import Random

import pytest

import farlane
from farlane.domain.jobs import FunctionWork, JobSpec
from farlane.errors import (
    ConnectionLost,
    DeadlineExceeded,
    DiskFull,
    InvalidInput,
    InvalidJob,
    InvalidToken,
    Unauthenticated,
    Unavailable,
    UnsupportedVersion,
    WrongHub,
)
from farlane.sdk.client import AsyncClient
from farlane.sdk.facade import Client
from farlane.testing.fake_hub import FakeHub
from farlane.wire.tokens import Token, parse_token

Eventually = Callable[[Callable[[], bool]], None]


def square(x: int) -> int:
    return x * x


@pytest.mark.parametrize("kind", ["open", "add", "seal", "watch"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cut_at_any_message_of_a_map_leaves_one_job_and_every_result_once(
    app: farlane.App, hub: FakeHub, kind: str, when: str
) -> None:
    hub.break_next(kind, when)
    results = list(app.function()(square).map((x for x in range(3000)), window=500))
    assert results == [x * x for x in range(3000)]
    assert [len(job.payloads) for job in hub.jobs.values()] == [3000]
    if kind != "seal":  # the last batch may carry the seal itself
        assert hub.connections == 2


@pytest.mark.parametrize("kind", ["open", "add", "watch"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cut_at_any_message_of_a_call_runs_it_once(
    app: farlane.App, hub: FakeHub, kind: str, when: str
) -> None:
    hub.break_next(kind, when)
    assert app.function()(square).remote(7) == 49
    assert [len(job.payloads) for job in hub.jobs.values()] == [1]
    assert hub.connections == 2


@pytest.mark.parametrize("repeat_rows", [0, 1, 700])
@pytest.mark.parametrize("ordered", [True, False])
def test_results_go_on_from_the_cursor_after_a_cut(
    app: farlane.App, hub: FakeHub, repeat_rows: int, ordered: bool
) -> None:
    hub.repeat_rows = repeat_rows
    hub.cut_after_rows(1500)
    results = app.function()(square).map(range(5000), ordered=ordered)
    first = next(results)
    hub.cut_after_rows(1000)
    found = [first, *results]
    assert sorted(found) == [x * x for x in range(5000)]
    assert not ordered or found == sorted(found)
    assert hub.connections >= 2


def test_many_cuts_in_a_row_lose_nothing(app: farlane.App, hub: FakeHub) -> None:
    squared = app.function()(square)
    done = threading.Event()

    def cutter() -> None:
        for _ in range(5):
            before = hub.connections
            hub.cut_streams()
            while hub.connections == before and not done.wait(0.01):
                pass

    thread = threading.Thread(target=cutter)
    results = squared.map(range(20_000))
    first = next(results)
    thread.start()
    try:
        assert [first, *results] == [x * x for x in range(20_000)]
    finally:
        done.set()
        thread.join()
    assert [len(job.payloads) for job in hub.jobs.values()] == [20_000]


def test_a_restart_of_the_hub_is_waited_out_by_calls_and_maps(app: farlane.App, hub: FakeHub) -> None:
    squared = app.function()(square)
    hub.hold()
    calls = [squared.spawn(x) for x in range(10)]
    assert calls[0].task
    started: list[farlane.Call[int]] = []
    hub.restart(down_for=lambda: started.append(squared.spawn(11)))
    hub.release()
    assert [call.result(20) for call in calls] == [x * x for x in range(10)]
    assert started[0].result(20) == 121


def test_a_request_that_the_hub_is_too_busy_for_is_sent_again(app: farlane.App, hub: FakeHub) -> None:
    hub.refuse_next("open", Unavailable("the store is being reopened"))
    assert app.function()(square).remote(3) == 9
    assert hub.received.count("open") == 2
    assert hub.connections == 1


def test_a_refusal_is_raised_where_the_call_is_made(app: farlane.App, hub: FakeHub) -> None:
    squared = app.function()(square)
    hub.refuse_next("open", InvalidJob("no node here is so large; ask for less memory"))
    with pytest.raises(InvalidJob, match="no node here is so large"):
        squared.remote(3)
    hub.refuse_next("add", DiskFull("the hub's disk is full; try again when it has room"))
    with pytest.raises(DiskFull, match="the hub's disk is full"):
        list(squared.map(range(10)))
    assert squared.remote(4) == 16


async def test_a_submit_with_the_same_key_is_the_same_job(aclient: AsyncClient, hub: FakeHub) -> None:
    function = await aclient.put_once(b"unused")
    spec = JobSpec(name="raw", function=FunctionWork(function, "3.11", "raw"))
    first = await aclient.submit(spec, [b"a", b"b"], key="k1")
    again = await aclient.submit(spec, [b"a", b"b"], key="k1")
    assert first.job == again.job
    assert [len(job.payloads) for job in hub.jobs.values()] == [2]


def test_a_hub_of_another_version_is_refused_with_the_side_to_upgrade(hub: FakeHub) -> None:
    hub.version = (2, 0)
    with pytest.raises(UnsupportedVersion, match="upgrade farlane on this side"):
        Client(hub.url, hub.token)
    hub.version = (1, 0)
    with Client(hub.url, hub.token) as client:
        assert client.jobs() == []


def test_a_wrong_token_is_refused_at_once_and_not_tried_again(hub: FakeHub) -> None:
    good = parse_token(hub.token)
    stranger = Token("client", "lab", "lab/eve", good.spki_sha256, "another-secret-1234")
    began = time.monotonic()
    with pytest.raises(Unauthenticated, match="this hub does not know the token"):
        Client(hub.url, stranger.text())
    assert time.monotonic() - began < 5
    assert hub.connections == 0


def test_a_wrong_hub_is_refused_before_the_secret_is_said(hub: FakeHub) -> None:
    good = parse_token(hub.token)
    other = Token("client", "lab", "lab/ada", bytes(32), good.secret)
    with pytest.raises(WrongHub, match="key in the token"):
        Client(hub.url, other.text())
    assert hub.connections == 0


def test_what_is_no_token_or_url_is_said_before_connecting(hub: FakeHub) -> None:
    with pytest.raises(InvalidToken, match="this is not a token"):
        Client(hub.url, "secret")
    with pytest.raises(InvalidInput, match="write https:// instead"):
        Client("http://127.0.0.1:1", hub.token)
    with pytest.raises(InvalidInput, match="url and token together"):
        Client(hub.url)


def test_without_a_hub_the_error_names_the_address_and_what_to_check(hub: FakeHub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        Unavailable, match=f"no hub answered within 0.5 s: cannot reach https://127.0.0.1:{port}"
    ):
        Client(f"https://127.0.0.1:{port}", hub.token, connect_timeout_s=0.5)


def test_patience_ends_and_says_what_goes_on(hub: FakeHub) -> None:
    with Client(hub.url, hub.token, patience_s=0.3, random=Random(1)) as client:
        squared = farlane.App("test", client).function()(square)
        hub.hold()
        call = squared.spawn(3)
        assert call.task == "j1.0"

        def outcome() -> None:
            with pytest.raises(
                Unavailable, match=r"no connection to the hub for 0.3 s: .*read on later from j1"
            ):
                call.result(20)

        hub.restart(down_for=outcome)
        with pytest.raises(Unavailable, match="no connection to the hub"):
            squared.remote(4)
        assert client.closed


def test_patience_ends_with_a_hub_that_lets_in_and_refuses_the_same_thing_each_time(hub: FakeHub) -> None:
    for _ in range(1000):
        hub.break_next("add", "before")
    with Client(hub.url, hub.token, patience_s=0.3, random=Random(1)) as client:
        call = farlane.App("test", client).function()(square).spawn(3)
        with pytest.raises(Unavailable, match=r"no connection to the hub for 0\.3 s: "):
            call.result(20)
    assert hub.connections >= 2


def test_a_closed_client_fails_what_waits_and_the_job_goes_on(hub: FakeHub, eventually: Eventually) -> None:
    hub.hold()
    client = Client(hub.url, hub.token)
    call = farlane.App("test", client).function()(square).spawn(3)
    assert call.task == "j1.0"
    client.close()
    with pytest.raises(ConnectionLost, match="the client was closed; what was submitted goes on without it"):
        call.result(10)
    hub.release()
    eventually(lambda: all(job.final for job in hub.jobs.values()))
    with Client(hub.url, hub.token) as later:
        assert [result.index for result in later.job("j1").results()] == [0]


def test_results_are_read_on_from_a_cursor_by_another_client(app: farlane.App, hub: FakeHub) -> None:
    squared = app.function()(square)
    assert len(list(squared.map(range(2000)))) == 2000
    with Client(hub.url, hub.token) as later:
        job = later.job("j1")
        rows = []
        for result in job.results():
            rows.append(result.index)
            if len(rows) == 700:
                break
        rows += [more.index for more in job.results(after=result.cursor)]
    assert sorted(rows) == list(range(2000))


def test_a_wait_that_is_too_short_says_so(app: farlane.App, hub: FakeHub) -> None:
    hub.hold()
    call = app.function()(square).spawn(3)
    with pytest.raises(DeadlineExceeded, match=r"job j1 has not ended within 0.05 s; it goes on"):
        call.job.wait(0.05)
    hub.release()
    assert call.result(10) == 9
