"""The machine's shell: carries out what the machine decides and tells it what came of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from farlane.domain.failures import FailureKind
from farlane.domain.jobs import BlobRef, JobSpec
from farlane.domain.records import OutputFile
from farlane.errors import FarlaneError, InvalidInput
from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.node.cache import BlobCache
from farlane.node.executors.port import CommandResult, Executor, Value
from farlane.node.hub_blobs import HubBlobs
from farlane.node.machine import commands, events
from farlane.node.machine.machine import Machine
from farlane.node.preparation import JobPreparer, Prepared
from farlane.wire.results import outputs_from_wire, outputs_to_wire


class Outlet(Protocol):
    """Where the machine's words to the hub go."""

    def report_results(self) -> None:
        """Have results sent."""

    def report_running(self, command: commands.ReportRunning) -> None:
        """Say what runs on."""

    def announce_drain(self) -> None:
        """Say that this node takes nothing new."""

    def leave(self) -> None:
        """Say farewell and go."""


class MachineShell:
    """Runs one machine on the event loop.

    What is here already (functions, environments, inline payloads) costs no task and no wait: leases become
    bundles in the same turn of the loop in which they arrive.

    Args:
        machine: what decides.
        executor: what runs bundles.
        preparer: brings what jobs share.
        cache: keeps payload blobs.
        blobs: stores results at the hub.
        outlet: the way to the hub.
        tasks: owns what has to wait.
        clock: gives `now`.
    """

    def __init__(
        self,
        machine: Machine,
        executor: Executor,
        preparer: JobPreparer,
        cache: BlobCache,
        blobs: HubBlobs,
        outlet: Outlet,
        tasks: TaskSupervisor,
        clock: Clock,
    ) -> None:
        self._machine, self._executor, self._outlet, self._clock = machine, executor, outlet, clock
        self._preparer, self._cache, self._blobs, self._tasks = preparer, cache, blobs, tasks
        self._events: deque[events.Event] = deque()
        self._busy = False
        self._closed = False
        self._prepared: dict[int, tuple[str, ...]] = {}
        self._payloads: dict[int, str] = {}
        self._uploads: dict[int, asyncio.Task[None]] = {}
        self._obey: dict[type, Callable[[Any], None]] = {
            commands.PrepareJob: self._prepare_job,
            commands.ReleaseJob: self._release_job,
            commands.FetchPayload: self._fetch_payload,
            commands.ReleasePayload: self._release_payload,
            commands.Submit: lambda command: executor.submit(command.bundle),
            commands.Cancel: lambda command: executor.cancel(command.ticket),
            commands.ReleaseScratch: self._release_scratch,
            commands.Upload: self._upload,
            commands.ReportResults: lambda command: outlet.report_results(),
            commands.ReportRunning: outlet.report_running,
            commands.AnnounceDrain: lambda command: outlet.announce_drain(),
            commands.Leave: lambda command: outlet.leave(),
        }

    def now(self) -> float:
        """Return the monotonic time that events carry."""
        return self._clock.monotonic()

    def handle(self, event: events.Event) -> None:
        """Give the machine an event and carry out what follows; events that this causes come after it."""
        if self._closed:
            return
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._events:
                for command in self._machine.handle(self._events.popleft()):
                    self._obey[type(command)](command)
        finally:
            self._busy = False

    def close(self) -> None:
        """Ignore everything from now on: the node is going down."""
        self._closed = True

    def _prepare_job(self, command: commands.PrepareJob) -> None:
        present = self._preparer.present(command.spec)
        if present is not None:
            self._take_prepared(command.preparation, present)
        else:
            self._tasks.start(self._bring_files(command.preparation, command.spec), "prepare job")

    async def _bring_files(self, preparation: int, spec: JobSpec) -> None:
        outcome = await self._preparer.prepare(spec)
        if isinstance(outcome, Prepared):
            self._take_prepared(preparation, outcome)
        else:
            self.handle(events.JobUnprepared(self.now(), preparation, outcome.kind, outcome.message))

    def _take_prepared(self, preparation: int, prepared: Prepared) -> None:
        self._prepared[preparation] = prepared.held
        self.handle(events.JobPrepared(self.now(), preparation, prepared.files))

    def _release_job(self, command: commands.ReleaseJob) -> None:
        self._preparer.release(self._prepared.pop(command.preparation))

    def _fetch_payload(self, command: commands.FetchPayload) -> None:
        path = self._cache.hold_present(command.blob)
        if path is not None:
            self._take_payload(command.fetch, command.blob, path)
        else:
            self._tasks.start(self._bring_payload(command.fetch, command.blob), "fetch payload")

    async def _bring_payload(self, fetch: int, blob: BlobRef) -> None:
        try:
            path = await self._cache.hold(blob)
        except (FarlaneError, OSError) as error:
            message = f"the task's payload could not be brought to the node: {error}"
            self.handle(events.PayloadLost(self.now(), fetch, message))
        else:
            self._take_payload(fetch, blob, path)

    def _take_payload(self, fetch: int, blob: BlobRef, path: str) -> None:
        self._payloads[fetch] = blob.cid
        self.handle(events.PayloadFetched(self.now(), fetch, path))

    def _release_payload(self, command: commands.ReleasePayload) -> None:
        self._cache.release(self._payloads.pop(command.fetch))

    def _release_scratch(self, command: commands.ReleaseScratch) -> None:
        upload = self._uploads.pop(command.ticket, None)
        if upload is not None:
            upload.cancel()
        self._executor.release(command.ticket)

    def _upload(self, command: commands.Upload) -> None:
        work = self._store(command.ticket, command.outcome)
        self._uploads[command.ticket] = self._tasks.start(work, "store result")

    async def _store(self, ticket: int, outcome: Value | CommandResult) -> None:
        event: events.Event
        try:
            if isinstance(outcome, Value):
                assert outcome.payload_path is not None  # only results in files are uploaded
                result = await self._blobs.store(Path(outcome.payload_path))
                event = events.Uploaded(self.now(), ticket, result, ())
            else:
                event = events.Uploaded(self.now(), ticket, None, await self._store_outputs(outcome))
        except InvalidInput as error:
            message = f"the script ended with exit code 0, but {error.message}"
            event = events.UploadFailed(self.now(), ticket, message, FailureKind.EXIT_CODE)
        except (FarlaneError, OSError) as error:
            event = events.UploadFailed(
                self.now(), ticket, f"the result could not be stored at the hub: {error}"
            )
        del self._uploads[ticket]
        self.handle(event)

    async def _store_outputs(self, outcome: CommandResult) -> tuple[OutputFile, ...]:
        _check_names(outcome)
        stored = [OutputFile(file.path, await self._blobs.store(Path(file.file))) for file in outcome.outputs]
        # As the hub will check them: there a bad row would cost the whole stream.
        outputs_from_wire([0], [outputs_to_wire(stored)], 1)
        return tuple(stored)


def _check_names(outcome: CommandResult) -> None:
    for file in outcome.outputs:
        if file.path.encode("utf-8", "replace") != file.path.encode("utf-8", "surrogateescape"):
            raise InvalidInput(
                f"the output {file.path!r} has a name that is not UTF-8: rename it in the script"
            )
