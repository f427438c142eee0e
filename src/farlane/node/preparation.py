"""Preparation: everything a job's tasks share is brought to this machine before the first of them starts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple, Protocol

from farlane.domain.failures import FailureKind
from farlane.domain.jobs import BlobRef, Environment, JobSpec
from farlane.errors import FarlaneError
from farlane.node.cache import BlobCache
from farlane.node.machine.attempts import JobFiles


class Environments(Protocol):
    """Installs the packages of a lock; see `executors.environment.EnvironmentCache`."""

    def prepare(self, lines: tuple[str, ...], digest: str) -> Path:
        """Return the site directory of a lock, installed if need be; blocks."""


class Prepared(NamedTuple):
    """What was prepared, and the blobs that are held for it."""

    files: JobFiles
    held: tuple[str, ...]


class Unprepared(NamedTuple):
    """Why preparation failed."""

    kind: FailureKind
    message: str


class JobPreparer:
    """Brings functions, input files and environments.

    Args:
        cache: where the blobs are kept.
        environments: where packages are installed.
    """

    def __init__(self, cache: BlobCache, environments: Environments) -> None:
        self._cache = cache
        self._environments = environments
        self._sites: dict[str, str] = {}

    def present(self, spec: JobSpec) -> Prepared | None:
        """Return what a job needs if all of it is here; None means: `await prepare`."""
        site = self._site_present(spec.environment)
        if site == "":
            return None
        held: list[str] = []
        paths: list[str] = []
        for blob in _blobs(spec):
            path = self._cache.hold_present(blob)
            if path is None:
                self.release(tuple(held))
                return None
            held.append(blob.cid)
            paths.append(path)
        return Prepared(_files(spec, site, paths), tuple(held))

    async def prepare(self, spec: JobSpec) -> Prepared | Unprepared:
        """Bring what a job needs."""
        try:
            site = await self._site(spec.environment)
        except (FarlaneError, OSError) as error:
            return Unprepared(FailureKind.ENVIRONMENT, f"the environment could not be installed: {error}")
        held: list[str] = []
        paths: list[str] = []
        try:
            for blob in _blobs(spec):
                paths.append(await self._cache.hold(blob))
                held.append(blob.cid)
        except (FarlaneError, OSError) as error:
            self.release(tuple(held))
            return Unprepared(
                FailureKind.BLOB, f"a function or input file could not be brought to the node: {error}"
            )
        except asyncio.CancelledError:
            self.release(tuple(held))
            raise
        return Prepared(_files(spec, site, paths), tuple(held))

    def release(self, held: tuple[str, ...]) -> None:
        """Give back what was held."""
        for cid in held:
            self._cache.release(cid)

    def _site_present(self, environment: Environment | None) -> str | None:
        """Return the site directory, None where none is needed, "" where it is not here."""
        return None if environment is None else self._sites.get(environment.digest, "")

    async def _site(self, environment: Environment | None) -> str | None:
        if environment is None:
            return None
        site = await asyncio.to_thread(self._environments.prepare, environment.lines, environment.digest)
        self._sites[environment.digest] = str(site)
        return str(site)


def _blobs(spec: JobSpec) -> list[BlobRef]:
    if spec.function is not None:
        return [spec.function.function]
    return [file.blob for file in spec.command.inputs] if spec.command is not None else []


def _files(spec: JobSpec, site: str | None, paths: list[str]) -> JobFiles:
    if spec.function is not None:
        return JobFiles(paths[0], site)
    names = [file.path for file in spec.command.inputs] if spec.command is not None else []
    return JobFiles("", site, tuple(zip(names, paths, strict=True)))
