"""`farlane cp`: a job's output files, copied here and verified."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import click

from farlane.cli.connecting import with_client
from farlane.cli.output import counted, json_option, on_terminal, print_json, say
from farlane.domain.ids import JobId, index_of, job_of, job_text, parse_job, parse_task
from farlane.domain.records import OutputFile
from farlane.domain.units import bytes_text
from farlane.errors import InvalidInput, NotFound
from farlane.sdk.client import AsyncClient

PAGE = 1000


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path))
@json_option
def cp(source: str, target: Path, as_json: bool) -> None:
    """Copy output files of a job to TARGET. SOURCE is j12: (all), j12.3: (one task's) or j12.3:out/model.bin (one).

    Files of several tasks go into a directory per task.
    """
    job, index, path = _parse(source)

    async def work(client: AsyncClient) -> list[dict[str, object]]:
        found = await _outputs(client, job, index, path)
        many = len({task for task, _ in found}) > 1
        copied = []
        for number, (task, file) in enumerate(found, 1):
            goal = _goal(target, task if many else None, file, single=bool(path) and not target.is_dir())
            goal.parent.mkdir(parents=True, exist_ok=True)
            await client.connection.get_file(file.blob, goal)
            copied.append(
                {"task": f"{job_text(job)}.{task}", "path": str(goal), "size_bytes": file.blob.size_bytes}
            )
            if on_terminal():
                say(f"{number}/{len(found)} {goal} ({bytes_text(file.blob.size_bytes)})")
        return copied

    copied = with_client(work)
    if as_json:
        print_json(copied)
    else:
        click.echo(f"{counted(len(copied), 'file')} copied to {target}")


def _parse(source: str) -> tuple[JobId, int | None, str]:
    where, colon, path = source.partition(":")
    if not colon:
        raise InvalidInput(f"{source!r} names no job's files; expected j12: or j12.3:path/in/the/task")
    if "." in where:
        task = parse_task(where)
        return job_of(task), index_of(task), path
    return parse_job(where), None, path


async def _outputs(
    client: AsyncClient, job: JobId, index: int | None, path: str
) -> list[tuple[int, OutputFile]]:
    """Return (task, file) of what was asked for.

    Raises:
        NotFound: there is nothing of it; the message lists what there is.
    """
    everything: list[tuple[int, OutputFile]] = []
    after = 0
    while batches := await client.tasks(job, after, PAGE):
        for batch in batches:
            for row, files in batch.outputs.items():
                everything += [(batch.indices[row], file) for file in files]
        after = batches[-1].seq + len(batches[-1].indices)
    found = [
        (task, file)
        for task, file in everything
        if index in (None, task)
        and (not path or file.path == path or file.path.startswith(path.rstrip("/") + "/"))
    ]
    if not found:
        known = ", ".join(sorted({file.path for _, file in everything})[:10]) or "none"
        raise NotFound(f"no such output file of {job_text(job)}; its tasks have kept: {known}")
    return found


def _goal(target: Path, task: int | None, file: OutputFile, *, single: bool) -> Path:
    """Return where a file goes; its path cannot leave the target."""
    if single:
        return target
    parts = PurePosixPath(file.path).parts
    if PurePosixPath(file.path).is_absolute() or ".." in parts:
        raise InvalidInput(f"output path {file.path!r} leaves its directory; it is not copied")
    base = target if task is None else target / str(task)
    return base.joinpath(*parts)
