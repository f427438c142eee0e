"""The asyncio client and its jobs: submits, results, plain calls, job files, blobs and closing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from farlane.domain.ids import NodeId
from farlane.domain.jobs import CommandWork, FunctionWork, JobSpec, JobState, TaskState
from farlane.errors import Conflict, ConnectionLost, InvalidInput, NotFound, TooLarge
from farlane.sdk.client import AsyncClient
from farlane.sdk.job_file import load_job_file
from farlane.sdk.jobs import JobHandle
from farlane.sdk.outcomes import value_of
from farlane.sdk.pickling import pickle_call, pickle_function
from farlane.testing.fake_hub import FakeHub


def square(x: int) -> int:
    return x * x


async def squares(client: AsyncClient, count: int) -> JobHandle:
    ref = await client.put_once(pickle_function(square))
    spec = JobSpec(name="squares", function=FunctionWork(ref, "3.11", "squares"))
    return await client.submit(spec, (pickle_call((x,), {}) for x in range(count)))


async def test_results_come_in_order_or_as_they_end(aclient: AsyncClient) -> None:
    job = await squares(aclient, 5000)
    ordered = [result async for result in job.results(ordered=True)]
    assert [result.index for result in ordered] == list(range(5000))
    assert [value_of(result, aclient.trust) for result in ordered] == [x * x for x in range(5000)]
    ended = [result async for result in job.results()]
    assert [result.cursor for result in ended] == list(range(1, 5001))
    assert [result.index async for result in job.results(after=4990)] == [
        result.index for result in ended[4990:]
    ]
    with pytest.raises(InvalidInput, match="results in order begin at cursor 0, not 7"):
        await anext(job.results(7, ordered=True))


async def test_a_result_knows_what_it_cost_and_where_it_ran(aclient: AsyncClient) -> None:
    job = await squares(aclient, 1)
    [result] = [result async for result in job.results()]
    assert (result.job, result.index, result.node, result.state) == (job.job, 0, "fake-node", TaskState.DONE)
    assert (result.attempts, result.lease_ms, result.cpu_us, result.peak_bytes, result.amount) == (
        1,
        1,
        1,
        0,
        1,
    )
    assert (result.failure, result.outputs) == (None, ())


async def test_one_client_reads_a_job_once_at_a_time(aclient: AsyncClient, hub: FakeHub) -> None:
    hub.hold()
    job = await squares(aclient, 2)
    first = job.results()
    reading = asyncio.ensure_future(anext(first))
    await asyncio.sleep(0)
    with pytest.raises(Conflict, match="job j1 is already being read through this client"):
        await anext(job.results())
    hub.release()
    assert (await reading).index == 0
    await first.aclose()  # type: ignore[attr-defined]
    assert len([result async for result in job.results()]) == 2


async def test_wait_stop_and_retry(aclient: AsyncClient, hub: FakeHub) -> None:
    hub.hold()
    job = await squares(aclient, 3)
    assert (await job.status()).queued == 3
    stopped = await job.stop("enough")
    assert (stopped.state, stopped.reason, stopped.stopped) == (JobState.STOPPED, "enough", 3)
    assert [result.state async for result in job.results()] == [TaskState.STOPPED] * 3
    hub.release()
    await job.retry()
    assert (await job.wait(10)).state is JobState.SUCCEEDED


async def test_plain_calls(aclient: AsyncClient, hub: FakeHub) -> None:
    hub.hold()
    job = await squares(aclient, 2)
    why = await job.why()
    assert (why.dominant, why.fix, why.nodes[0].reason) == ("every node is busy", "wait", "busy")
    assert [status.name for status in await aclient.jobs()] == ["squares"]
    hub.release()
    await job.wait(10)
    assert await aclient.jobs() == []
    assert [status.ended for status in await aclient.jobs(all=True)] == [2]
    [batch] = await job.tasks()
    assert (batch.indices, batch.results.inline) == ([0, 1], [b"", b""])
    [node] = await aclient.nodes()
    assert (node.spec.name, node.state) == ("fake", "online")
    assert await aclient.drain(NodeId("fake-node")) == 0
    with pytest.raises(NotFound, match="node 'nobody' is not known"):
        await aclient.drain(NodeId("nobody"))
    assert (await aclient.backup("monday")).path == "/backups/monday"
    assert (await aclient.quote(hub.jobs[job.job].spec, 10)).upper_bound == 10
    with pytest.raises(NotFound, match="job j99 is not known here"):
        await aclient.job(type(job.job)(99)).status()


async def test_a_plain_call_is_tried_again_while_the_hub_restarts(aclient: AsyncClient, hub: FakeHub) -> None:
    await asyncio.to_thread(hub.restart)
    assert await aclient.jobs() == []


async def test_a_job_file_runs_with_its_inputs_and_leaves_its_outputs(
    aclient: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("hello\n")
    (tmp_path / "job.yaml").write_text(
        "tasks: 3\ninputs: [words.txt]\nrun: cat words.txt; echo $FARLANE_TASK_INDEX $X > out.txt\n"
        "env: {X: yes}\noutputs: [out.txt]\n"
    )
    job = await aclient.submit_file(tmp_path / "job.yaml")
    contents = []
    async for result in job.results(ordered=True):
        [output] = result.outputs
        target = tmp_path / f"out-{result.index}.txt"
        await aclient.connection.get_file(output.blob, target)
        contents.append(target.read_text())
    assert contents == ["0 yes\n", "1 yes\n", "2 yes\n"]
    assert b"".join([chunk.data async for chunk in job.logs(1)]) == b"hello\n"


async def test_an_input_that_vanished_is_named(aclient: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("hello\n")
    (tmp_path / "job.yaml").write_text("inputs: [words.txt]\nrun: cat words.txt\n")
    job_file = load_job_file(tmp_path / "job.yaml", 0.0)
    (tmp_path / "words.txt").unlink()
    with pytest.raises(InvalidInput, match=r"words.txt' cannot be read: No such file"):
        await aclient.submit_file(job_file)


async def test_a_message_beyond_the_cap_is_refused_before_it_is_sent(
    aclient: AsyncClient, hub: FakeHub
) -> None:
    env = tuple((f"V{n}", "x" * 30_000) for n in range(200))
    spec = JobSpec(name="huge", command=CommandWork(run="true"), env=env)
    with pytest.raises(TooLarge, match=r"a message of 6.* bytes; expected at most 4194304"):
        await aclient.submit(spec, [b""])
    assert "open" not in hub.received


async def test_the_same_bytes_are_sent_once_however_often_they_are_asked_for(
    aclient: AsyncClient, hub: FakeHub
) -> None:
    refs = await asyncio.gather(*(aclient.put_once(b"data" * 1000) for _ in range(10)))
    assert len(set(refs)) == 1
    assert hub.blobs.puts == 1


async def test_an_error_inside_the_block_passes_and_the_client_closes(hub: FakeHub) -> None:
    client = AsyncClient(hub.url, hub.token)
    with pytest.raises(RuntimeError, match="mine"):
        async with client:
            raise RuntimeError("mine")
    with pytest.raises(ConnectionLost, match="the client was closed"):
        await client.submit(JobSpec(name="late", command=CommandWork(run="true")), [b""])


async def test_a_client_that_is_not_open_says_how_to_open_it(hub: FakeHub) -> None:
    client = AsyncClient(hub.url, hub.token)
    with pytest.raises(Conflict, match="use it inside `async with`"):
        await client.jobs()


async def test_a_connection_without_trouble_logs_no_warning(
    aclient: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        job = await squares(aclient, 10)
        await job.wait(10)
    assert caplog.records == []
