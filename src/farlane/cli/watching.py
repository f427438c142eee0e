"""Watching a job to its end: its log as it is printed, a progress line on a terminal, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import click

from farlane.cli.output import counted, on_terminal, plain, print_json, print_json_line, say
from farlane.domain.ids import JobId, TaskId, index_of, job_text, task_text
from farlane.domain.jobs import JobState
from farlane.domain.units import bytes_text, credits_text, seconds_text
from farlane.sdk.jobs import JobHandle
from farlane.sdk.outcomes import TaskResult
from farlane.sdk.values import JobStatus, LogChunk

PROGRESS_EVERY_S = 0.25
LOG_GRACE_S = 2.0
MOST_SHOWN = 10


async def finish(handle: JobHandle, *, as_json: bool) -> int:
    """Follow a job to its end and say how it went; returns 0 when every task succeeded."""
    single = (await handle.status()).total == 1
    async with contextlib.AsyncExitStack() as stack:
        if not as_json:
            logs = asyncio.create_task(print_logs(handle, None, single=single))
            stack.push_async_callback(_let_finish, logs)
            if on_terminal() and not single:
                progress = asyncio.create_task(show_progress(handle))
                stack.callback(progress.cancel)
        results = [result async for result in handle.results()]
    status = await handle.status()
    if as_json:
        print_json({"status": plain(status), "tasks": [_task(status.job, result) for result in results]})
    else:
        _summary(status, results)
    return 0 if status.state is JobState.SUCCEEDED else 1


async def print_logs(handle: JobHandle, index: int | None, *, single: bool, follow: bool = True) -> None:
    """Print a job's log: stdout to stdout, stderr to stderr, with the task in front where there are several."""
    async for chunk in _whole_lines(handle, index, follow=follow):
        stream = sys.stderr.buffer if chunk.stream == "stderr" else sys.stdout.buffer
        if single:
            stream.write(chunk.data)
        else:
            prefix = f"[{index_of(chunk.task)}] ".encode()
            stream.write(b"".join(prefix + line for line in chunk.data.splitlines(keepends=True)))
        stream.flush()


async def print_json_logs(handle: JobHandle, index: int | None, *, follow: bool) -> None:
    """Print a job's log to stdout, one JSON object for each line that was printed."""
    async for chunk in _whole_lines(handle, index, follow=follow):
        for line in chunk.data.decode(errors="replace").split("\n")[:-1]:
            print_json_line(
                {
                    "task": task_text(chunk.task),
                    "attempt": chunk.attempt,
                    "stream": chunk.stream,
                    "line": line.removesuffix("\r"),
                }
            )


async def _whole_lines(handle: JobHandle, index: int | None, *, follow: bool) -> AsyncIterator[LogChunk]:
    """Yield the log, cut behind line ends so that tasks do not mix within a line."""
    open_ends: dict[tuple[TaskId, int, str], bytes] = {}
    async for chunk in handle.logs(index, follow=follow):
        key = (chunk.task, chunk.attempt, chunk.stream)
        data = open_ends.pop(key, b"") + chunk.data
        cut = data.rfind(b"\n") + 1
        if cut < len(data):
            open_ends[key] = data[cut:]
        if cut:
            yield LogChunk(*key, data[:cut])
    for key, rest in open_ends.items():
        yield LogChunk(*key, rest + b"\n")


async def _let_finish(logs: asyncio.Task[None]) -> None:
    """Give the log a moment to arrive: the result may overtake the last lines."""
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        await asyncio.wait_for(logs, LOG_GRACE_S)


async def show_progress(handle: JobHandle) -> None:
    """Keep one line on stderr up to date until the job has ended."""
    while True:
        status = await handle.status()
        line = f"\r{status.ended}/{status.total} done, {status.running} running, {status.failed} failed "
        click.echo(line + credits_text(status.spent) + " credits\x1b[K", err=True, nl=False)
        if status.state.final:
            click.echo("", err=True)
            return
        await asyncio.sleep(PROGRESS_EVERY_S)


def _summary(status: JobStatus, results: list[TaskResult]) -> None:
    failed = [result for result in results if result.failure is not None]
    for result in failed[:MOST_SHOWN]:
        failure = result.failure
        if failure is not None:
            say(
                f"task {result.index} failed ({failure.kind}, blame: {failure.rule.words()}): {failure.message}"
            )
            if failure.traceback:
                say(failure.traceback.rstrip())
    if len(failed) > MOST_SHOWN:
        say(
            f"... and {counted(len(failed) - MOST_SHOWN, 'more failed task')}; "
            f"`farlane ps {job_text(status.job)}` lists all"
        )
    files = [file for result in results for file in result.outputs]
    if files:
        size = bytes_text(sum(file.blob.size_bytes for file in files))
        say(
            f"{counted(len(files), 'output file')} ({size}); "
            f"fetch with `farlane cp {job_text(status.job)}: DIRECTORY`"
        )
    say(ended_line(status))
    if status.reason:
        say(f"reason: {status.reason}")


def ended_line(status: JobStatus) -> str:
    """Return how an ended job went, in one line."""
    took = seconds_text(max(0.0, status.ended_at - status.opened_at))
    tasks = counted(status.total, "task")
    return (
        f"{job_text(status.job)} {status.state}: {status.done} of {tasks}, {took}, "
        f"{credits_text(status.spent)} credits"
    )


def _task(job: JobId, result: TaskResult) -> dict[str, object]:
    return {
        "task": f"{job_text(job)}.{result.index}", "index": result.index,
        "state": result.state.name.lower(), "node": result.node, "attempts": result.attempts,
        "lease_ms": result.lease_ms, "cpu_us": result.cpu_us, "peak_bytes": result.peak_bytes,
        "amount": result.amount, "failure": plain(result.failure),
        "outputs": [{"path": file.path, "cid": file.blob.cid, "size_bytes": file.blob.size_bytes}
                    for file in result.outputs],
    }  # fmt: skip
