"""A whole node, with real workers, against a scripted hub on TLS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.jobs import BlobRef, CommandWork, Environment, InputFile, TaskState
from farlane.domain.records import Column
from farlane.domain.resources import Resources
from farlane.node.settings import NodeSettings
from farlane.testing.busy_agent import (
    MIB,
    call,
    function_job,
    kinds_until_farewell,
    only_result,
    running,
)
from farlane.testing.scripted_hub import ScriptedHub, scripted_hub
from farlane.testing.waiting import until
from farlane.wire.v1 import node_pb2


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ScriptedHub]:
    async with scripted_hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return NodeSettings(directory=tmp_path / "node", name="one", memory="1GiB", disk="64MiB", cache="32MiB")


async def test_two_thousand_tasks_stream_through(settings: NodeSettings, hub: ScriptedHub) -> None:
    async with running(settings, hub):
        stream = await hub.joined()
        job = function_job(hub, lambda data: data)
        payload = call(b"x" * 1000)
        await stream.lease(1, job, [payload] * 4)
        await stream.results(4)
        begun, cpu = time.perf_counter(), time.process_time()
        await stream.lease(1, job, [payload] * 2000, first=4)
        found = await stream.results(2000)
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    assert {state for state, _, _ in found.values()} == {TaskState.DONE}
    assert cloudpickle.loads(found[1 << 24 | 4][1]) == b"x" * 1000
    print(
        f"\n2000 no-op tasks of 1 KB: {2000 / took:.0f}/s, {cpu / 2000 * 1e6:.0f} us CPU per task (hub, node)"
    )


async def test_a_remote_exception_travels_with_its_traceback(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    def fails(value: int) -> float:
        return value / 0

    async with running(settings, hub):
        stream = await hub.joined()
        await stream.lease(1, function_job(hub, fails), [call(1)])
        ((state, _, failure),) = (await stream.results(1)).values()
    assert failure is not None
    assert (state, failure.kind) == (TaskState.FAILED, FailureKind.EXCEPTION)
    assert "ZeroDivisionError" in failure.traceback
    assert isinstance(cloudpickle.loads(failure.exception), ZeroDivisionError)


async def test_large_payloads_and_results_go_beside_the_stream(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    async with running(settings, hub):
        stream = await hub.joined()
        job = function_job(hub, lambda data: data * 2)
        blob = hub.put(call(b"x" * 200_000))
        await stream.lease(1, job, Column([b"", b""], {0: blob, 1: blob}))
        ended = [(await stream.receive("ended")).ended]
        while sum(len(batch.tasks) for batch in ended) < 2:
            ended.append((await stream.receive("ended")).ended)
    assert {state for batch in ended for state in batch.states} == {TaskState.DONE}
    assert {data for batch in ended for data in batch.results.inline} == {b""}
    (cid,) = {ref.cid for batch in ended for ref in batch.results.blobs}
    assert cloudpickle.loads(hub.blobs[cid]) == b"x" * 400_000
    assert sorted(hub.gets) == sorted([job.function.function.cid, blob.cid])  # type: ignore[union-attr]  # each once


async def test_commands_get_their_inputs_and_hand_in_their_outputs(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    work = CommandWork(
        "tr a-z A-Z < in/text > out.txt; echo said; echo $GREETING >&2",
        inputs=(InputFile("in/text", hub.put(b"hello")),),
        outputs=("out.txt",),
    )
    job = function_job(hub, print, function=None, command=work, env=(("GREETING", "good day"),))
    job = replace(job, resources=Resources(1000, 256 * MIB, MIB))
    async with running(settings, hub):
        stream = await hub.joined()
        await stream.lease(1, job, [b""])
        ended = (await stream.receive("ended")).ended
        await until(lambda: len(stream.log) == 2)
    assert bytes(ended.states) == bytes([TaskState.DONE]), ended.failures
    (file,) = ended.outputs[0].files
    assert (file.path, hub.blobs[file.blob.cid]) == ("out.txt", b"HELLO")
    assert stream.log == {(1 << 24, "stdout"): b"said\n", (1 << 24, "stderr"): b"good day\n"}


async def test_an_output_name_that_cannot_travel_fails_its_task_alone(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    work = CommandWork("printf x > $(printf 'bad\\377name')", outputs=("*",))
    job = function_job(hub, print, function=None, command=work)
    job = replace(job, resources=Resources(1000, 256 * MIB, MIB))
    async with running(settings, hub):
        stream = await hub.joined()
        await stream.lease(1, job, [b""])
        state, _, kind, message = await only_result(stream)
    assert (state, kind) == (TaskState.FAILED, FailureKind.EXIT_CODE)
    assert "not UTF-8" in message


@pytest.mark.parametrize("broken", ["function", "payload"])
async def test_a_blob_with_other_bytes_or_none_is_the_networks_fault(
    settings: NodeSettings, hub: ScriptedHub, broken: str
) -> None:
    job = function_job(hub, lambda data: data)
    payload = hub.put(call(b"y" * 100_000))
    function = job.function.function  # type: ignore[union-attr]
    if broken == "function":
        hub.blobs[function.cid] = b"z" * function.size_bytes
    else:
        del hub.blobs[payload.cid]
    async with running(settings, hub):
        stream = await hub.joined()
        await stream.lease(1, job, Column([b""], {0: payload}))
        state, _, kind, message = await only_result(stream)
    assert (state, kind) == (TaskState.FAILED, FailureKind.BLOB)
    assert ("hash to" if broken == "function" else "no blob") in message


async def test_an_environment_that_cannot_be_had_is_reported(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    job = function_job(hub, print, environment=Environment("0" * 64, ("x==1",)))
    async with running(settings, hub):
        stream = await hub.joined()
        await stream.lease(1, job, [call()])
        state, _, kind, message = await only_result(stream)
    assert (state, kind) == (TaskState.FAILED, FailureKind.ENVIRONMENT)
    assert "the environment could not be installed" in message


async def test_work_goes_on_without_the_hub_and_nothing_is_lost_or_counted_twice(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    hub.auto_accept = False
    job = function_job(hub, lambda value: value + 1)
    async with running(settings, hub):
        stream = await hub.joined()
        await stream.lease(1, job, [call(0)])
        await stream.results(1)
        tasks = await stream.lease(1, job, [call(value) for value in range(500)], first=1)
        await stream.receive("ended")
        await hub.stop()
        hub.auto_accept = True
        await hub.start()
        stream = await hub.joined()
        hello = (await stream.receive("hello")).hello
        assert set(tasks) <= set(hello.held.tasks)
        found = await stream.results(501)
        assert {cloudpickle.loads(found[task][1]) for task in tasks} == set(range(1, 501))
        await stream.lease(1, job, [call(7)], first=600)
        assert set(await stream.results(1)) == {1 << 24 | 600}  # nothing is sent a third time


async def test_a_revoked_task_is_killed_and_its_place_taken(settings: NodeSettings, hub: ScriptedHub) -> None:
    whole = Resources(1000, 1024 * MIB, 0)
    async with running(settings, hub):
        stream = await hub.joined()
        (task,) = await stream.lease(1, function_job(hub, time.sleep, resources=whole), [call(60)])
        await stream.lease(2, function_job(hub, abs, resources=whole), [call(-3)])
        columns = node_pb2.AttemptColumns(tasks=[task], attempts=[1], copies=[0], epoch=1)
        await stream.send(revoke=node_pb2.Revoke(attempts=columns, reason="stopped"))
        state, result, _, _ = await only_result(stream)
    assert (state, cloudpickle.loads(result)) == (TaskState.DONE, 3)


async def test_a_result_that_is_revoked_while_it_is_stored_leaves_nothing(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    async with running(settings, hub):
        stream = await hub.joined()
        job = function_job(hub, bytes)
        await stream.lease(1, job, [call(1)])
        await stream.results(1)
        hub.holding = asyncio.Event()
        (task,) = await stream.lease(1, job, [call(100_000)], first=1)
        scratch = settings.directory / "scratch"
        # The result lies there before the node has heard of it: it is being stored once the hub is asked.
        await until(lambda: hub.held > 0)
        assert any(scratch.glob("*/*.result"))
        columns = node_pb2.AttemptColumns(tasks=[task], attempts=[1], copies=[0], epoch=1)
        await stream.send(revoke=node_pb2.Revoke(attempts=columns, reason="stopped"))
        await until(lambda: not any(scratch.glob("*/*.result")))
        hub.holding.set()
        await stream.send(drain=node_pb2.DrainRequest(hand_back=True))
        kinds = [kind async for kind in kinds_until_farewell(stream)]
    assert "ended" not in kinds


async def test_blobs_of_an_earlier_run_are_used_again(settings: NodeSettings, hub: ScriptedHub) -> None:
    job = function_job(hub, abs)
    blob: BlobRef = job.function.function  # type: ignore[union-attr]
    for _ in range(2):
        async with running(settings, hub):
            stream = await hub.joined()
            await stream.lease(1, job, [call(-1)])
            state, _, _, _ = await only_result(stream)
            assert state == TaskState.DONE
    assert hub.gets == [blob.cid]


async def test_metrics_are_served_on_loopback(settings: NodeSettings, hub: ScriptedHub) -> None:
    import socket
    import urllib.request

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with running(replace(settings, metrics_port=port), hub) as agent:
        stream = await hub.joined()
        await stream.lease(1, function_job(hub, abs), [call(-1)] * 3)
        await stream.results(3)
        assert agent.metrics_port == port
        url = f"http://127.0.0.1:{port}/metrics"
        text = (await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())).decode()
    assert 'farlane_node_attempts_ended_total{kind="done"} 3.0' in text
    assert "farlane_node_connected 1.0" in text
