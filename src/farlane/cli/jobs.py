"""`farlane ps`, `wait`, `logs`, `stop`, `retry` and `why`."""

from __future__ import annotations

import asyncio
import contextlib
import time

import click

from farlane.cli.connecting import with_client, with_client_and_dues
from farlane.cli.output import ago, json_option, money, on_terminal, print_json, print_table, say
from farlane.cli.watching import ended_line, print_json_logs, print_logs, show_progress
from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, NodeId, job_text, parse_job, parse_task
from farlane.domain.ids import index_of as task_index
from farlane.domain.ids import job_of as task_job
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import TasksEnded
from farlane.domain.units import bytes_text, parse_seconds, seconds_text
from farlane.errors import DeadlineExceeded
from farlane.sdk.client import AsyncClient
from farlane.sdk.jobs import JobHandle
from farlane.sdk.values import Explanation, JobStatus


@click.command()
@click.argument("job", required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="Ended jobs too.")
@click.option("-n", "--limit", default=20, show_default=True, help="At most this many.")
@click.option("--project", default="", help="Only jobs charged to this project.")
@json_option
def ps(job: str | None, everything: bool, limit: int, project: str, as_json: bool) -> None:
    """List your open jobs, or the ended tasks of one JOB."""
    if job is None:
        jobs = with_client_and_dues(lambda client: client.jobs(limit, all=everything, project=project))
        _list_jobs(jobs, as_json)
        return
    wanted = parse_job(job)

    async def one(client: AsyncClient) -> tuple[JobStatus, list[dict[str, object]]]:
        status, batches = await client.job(wanted).status(), await client.tasks(wanted, limit=limit)
        names = {node.spec.node: node.spec.name for node in await client.nodes()} if batches else {}
        return status, _task_rows(wanted, batches, names)[:limit]

    status, rows = with_client_and_dues(one)
    if as_json:
        print_json({"status": status, "tasks": rows})
        return
    _list_jobs([status], as_json=False)
    cells = [
        (str(row["task"]), str(row["state"]), str(row["node_name"] or row["node"] or "-"), str(row["attempts"]),
         seconds_text(int(str(row["lease_ms"])) / 1000), seconds_text(int(str(row["cpu_us"])) / 1e6),
         bytes_text(int(str(row["peak_bytes"]))), money(int(str(row["amount"]))), str(row["blame"] or ""),
         str(row["failure"] or ""))
        for row in rows
    ]  # fmt: skip
    if cells:
        click.echo("")
        headings = ("TASK", "STATE", "NODE", "TRIES", "LEASE", "CPU", "PEAK", "CREDITS", "BLAME", "FAILURE")
        print_table(headings, cells, right=(3, 4, 5, 6, 7))


def _task_rows(job: JobId, batches: list[TasksEnded], names: dict[NodeId, str]) -> list[dict[str, object]]:
    return [
        {"task": f"{job_text(job)}.{batch.indices[row]}", "index": batch.indices[row],
         "state": TaskState(batch.states[row]).name.lower(), "node": batch.node, "node_name": names.get(batch.node),
         "attempts": batch.attempts[row], "lease_ms": batch.lease_ms[row], "cpu_us": batch.cpu_us[row],
         "peak_bytes": batch.peak_bytes[row], "amount": batch.amounts[row],
         **_failure_fields(batch.failures.get(row))}
        for batch in batches
        for row in range(len(batch.indices))
    ]  # fmt: skip


def _failure_fields(failure: Failure | None) -> dict[str, object]:
    """Return what a row says of a failure: what happened, whose fault it is, and whether the lease is paid."""
    if failure is None:
        return {"failure": None, "kind": None, "blame": None, "paid": None}
    first = (failure.message.splitlines() or [""])[0][:80]
    return {
        "failure": first,
        "kind": failure.kind.value,
        "blame": failure.rule.words(),
        "paid": failure.rule.paid,
    }


def _list_jobs(jobs: list[JobStatus], as_json: bool) -> None:
    if as_json:
        print_json(jobs)
        return
    if not jobs:
        click.echo("no open jobs; `farlane ps --all` lists ended ones")
        return
    headings = ["JOB", "NAME", "STATE", "PRIO", "TASKS", "QUEUED", "RUNNING", "DONE", "FAILED", "STOPPED", "CREDITS",
                "AGE"]  # fmt: skip
    rows = [
        [job_text(job.job), job.name[:32], job.state, str(job.priority), str(job.total), str(job.queued),
         str(job.running), str(job.done), str(job.failed), str(job.stopped), money(job.spent), ago(job.opened_at)]
        for job in jobs
    ]  # fmt: skip
    left = 3
    if any(job.project for job in jobs):
        left = 4
        for row, project in zip([headings, *rows], ["PROJECT", *(job.project for job in jobs)], strict=True):
            row.insert(2, project or "default")
    print_table(headings, rows, right=range(left, len(headings)))
    for job in jobs:
        if job.capped:
            say(f"{job_text(job.job)} waits: {job.capped}; `farlane why {job_text(job.job)}` says what helps")


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@click.option("--timeout", help="Give up after this long, such as 10m; the jobs go on.")
@json_option
def wait(jobs: tuple[str, ...], timeout: str | None, as_json: bool) -> int:
    """Wait until every JOB has ended. Exit code 0 when all have succeeded, else 1."""
    wanted = [parse_job(job) for job in jobs]
    end = None if timeout is None else time.monotonic() + parse_seconds(timeout)

    async def work(client: AsyncClient) -> list[JobStatus]:
        return [await _ended(client.job(job), end, timeout, shown=not as_json) for job in wanted]

    ended = with_client(work)
    if as_json:
        print_json(ended)
    return 0 if all(status.state is JobState.SUCCEEDED for status in ended) else 1


async def _ended(handle: JobHandle, end: float | None, timeout: str | None, *, shown: bool) -> JobStatus:
    async with contextlib.AsyncExitStack() as stack:
        if shown and on_terminal():
            stack.callback(asyncio.create_task(show_progress(handle)).cancel)
        try:
            left_s = None if end is None else max(0.0, end - time.monotonic())
            status = await handle.wait(left_s)
        except DeadlineExceeded as error:
            job = job_text(handle.job)
            raise DeadlineExceeded(
                f"{job} has not ended within {timeout}; it goes on. `farlane why {job}` says what it waits for, "
                f"`farlane stop {job}` ends it",
                **error.facts,
            ) from error
    if shown:
        click.echo(ended_line(status))
    return status


@click.command()
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each printed line, all on stdout.")
def logs(job: str, follow: bool, as_json: bool) -> None:
    """Show what a JOB (j12) or one task of it (j12.7) has printed."""
    index = None
    if "." in job:
        task = parse_task(job)
        wanted, index = task_job(task), task_index(task)
    else:
        wanted = parse_job(job)

    async def work(client: AsyncClient) -> None:
        handle = client.job(wanted)
        if as_json:
            await print_json_logs(handle, index, follow=follow)
            return
        single = index is not None or (await handle.status()).total == 1
        await print_logs(handle, index, single=single, follow=follow)

    with_client(work)


@click.command()
@click.argument("job")
@click.option("--reason", default="", help="Kept with the job.")
@json_option
def stop(job: str, reason: str, as_json: bool) -> None:
    """Stop a JOB: queued tasks never run, running ones are ended and paid for the time they ran."""
    wanted = parse_job(job)
    _show(with_client(lambda client: client.job(wanted).stop(reason)), as_json)


@click.command()
@click.argument("job")
@json_option
def retry(job: str, as_json: bool) -> None:
    """Run the failed and stopped tasks of an ended JOB again."""
    wanted = parse_job(job)
    _show(with_client(lambda client: client.job(wanted).retry()), as_json)


def _show(status: JobStatus, as_json: bool) -> None:
    if as_json:
        print_json(status)
    else:
        _list_jobs([status], as_json=False)


@click.command()
@click.argument("job")
@json_option
def why(job: str, as_json: bool) -> None:
    """Explain why a JOB waits: one dominant reason, what would fix it, and every node's part in it."""
    wanted = parse_job(job)
    found = with_client_and_dues(lambda client: client.job(wanted).why())
    if as_json:
        print_json(found)
    else:
        _explain(found)


def _explain(found: Explanation) -> None:
    click.echo(f"{job_text(found.job)} is {found.state}: {found.dominant}")
    if found.fix:
        click.echo(f"to fix it: {found.fix}")
    if found.decider:
        click.echo(f"{found.decider}")
    for sentence in found.weighed:
        click.echo(f"weighed: {sentence}")
    if found.nodes:
        click.echo("")
        print_table(("NODE", "WHY NOT"), [(node.name, node.reason) for node in found.nodes])
    for failure in found.failures:
        say(f"\nfailed ({failure.kind}, blame: {failure.rule.words()}): {failure.message}")
        if failure.traceback:
            say(failure.traceback.rstrip())
