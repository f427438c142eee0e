"""`farlane run` and `farlane apply`: the quote first, then the work, its log and its end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import click

from farlane.cli.command_document import job_of_command
from farlane.cli.connecting import connecting
from farlane.cli.output import ask, counted, json_option, on_terminal, print_json, say
from farlane.cli.watching import finish
from farlane.domain.ids import job_text
from farlane.domain.units import credits_text, seconds_text
from farlane.errors import Unavailable
from farlane.sdk.client import AsyncClient
from farlane.sdk.job_file import JobFile, load_job_file
from farlane.sdk.jobs import JobHandle
from farlane.sdk.values import Quote

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask; submit at the quoted price.")
detach_option = click.option("-d", "--detach", is_flag=True, help="Return once it is submitted.")
key_option = click.option("--key", help="Idempotency key: the same key and work submit once, however often.")


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("command", nargs=-1, required=True)
@click.option("--name", help="Job name [default: the program's].")
@click.option("--cpu", help="Cores, such as 0.5 or 2 [default: 1].")
@click.option("--memory", help="Memory, such as 512MB or 2GiB [default: 1GiB].")
@click.option("--disk", help="Scratch disk, such as 10GB [default: 1GiB].")
@click.option("--gpu", help="GPUs, such as A100:1 or 24GB.")
@click.option("--tasks", type=int, help="Run it this often; FARLANE_TASK_INDEX counts from 0.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Environment variable.")
@click.option("--input", "inputs", multiple=True, metavar="PATH", help="File or directory to bring along.")
@click.option("--output", "outputs", multiple=True, metavar="GLOB", help="Files to keep, for `farlane cp`.")
@click.option("--priority", type=int, help="0 to 100, higher first [default: 50].")
@click.option("--retry", type=int, help="How often a failed task runs again [default: 0].")
@click.option("--max-duration", help="Longest run of one task, such as 10m [default: 1h].")
@click.option("--deadline", help="When all must have ended, such as 2h from now.")
@click.option("--max-price", help="The most an hour of one task may cost, in credits.")
@click.option("--budget", help="The most the whole job may cost, in credits.")
@click.option("--project", help="What the work is charged to inside your organisation.")
@key_option
@yes_option
@detach_option
@json_option
def run(
    command: tuple[str, ...], yes: bool, detach: bool, as_json: bool, key: str | None, **options: Any
) -> int:
    """Run COMMAND on the network. Put `--` in front of it: farlane run -- python -c "print('hi')"."""
    job = job_of_command(command, options, time.time())
    return submit(job, yes=yes, detach=detach, as_json=as_json, key=key)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@key_option
@yes_option
@detach_option
@json_option
def apply(file: Path, key: str | None, yes: bool, detach: bool, as_json: bool) -> int:
    """Submit a job FILE (YAML)."""
    return submit(load_job_file(file, time.time()), yes=yes, detach=detach, as_json=as_json, key=key)


def submit(job: JobFile, *, yes: bool, detach: bool, as_json: bool, key: str | None) -> int:
    """Show the quote, ask, submit, follow to the end; returns the exit code."""
    handle: JobHandle | None = None

    async def work() -> int:
        nonlocal handle
        async with connecting(AsyncClient()) as client:
            if not await _agreed(client, job, yes=yes, as_json=as_json):
                return 130
            handle = await client.submit_file(job, key=key)
            if not as_json:
                say(f"submitted {job_text(handle.job)}")
            if detach:
                print_json({"job": job_text(handle.job)}) if as_json else click.echo(job_text(handle.job))
                return 0
            return await finish(handle, as_json=as_json)

    try:
        return asyncio.run(work())
    except KeyboardInterrupt:
        if handle is None:
            raise
        name = job_text(handle.job)
        say(f"{name} goes on; `farlane logs -f {name}` follows it, `farlane stop {name}` ends it")
        return 130


async def _agreed(client: AsyncClient, job: JobFile, *, yes: bool, as_json: bool) -> bool:
    quote = await client.quote(job.spec, job.tasks)
    for notice in quote.notices:
        say(notice)
    if not as_json:
        show_quote(quote, job)
    if yes:
        return True
    if not on_terminal():
        raise Unavailable(
            "there is nobody to ask whether this price is right; repeat the command with -y to agree"
        )
    question = "submit" if not quote.problem else "submit anyway and wait for such a node"
    return ask(f"{question}?", default=not quote.problem)


def show_quote(quote: Quote, job: JobFile) -> None:
    """Print what it may cost and where it could run, to stderr."""
    limit = seconds_text(job.spec.timeout_ms / 1000)
    say(f"{job.spec.name}: {counted(job.tasks, 'task')}, at most {limit} each")
    if quote.problem:
        say(f"  no node can run this now: {quote.problem}")
        say(f"  to fix it: {quote.fix}")
        return
    expected = f", expected {credits_text(quote.expected)}" if quote.expected else ""
    nodes = counted(quote.eligible_nodes, "node")
    say(f"  at most {credits_text(quote.upper_bound)} credits in all{expected}; {nodes} can run it")
    if quote.custody:
        say(f"  {quote.custody}")
