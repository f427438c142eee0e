"""One connection to a replica: frames in, answers out, each request a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from farlane.errors import Conflict, Exhausted, FarlaneError
from farlane.kit.tasks import TaskSupervisor
from farlane.models.serving import frames
from farlane.models.serving.host import ModelHost, as_farlane_error

log = logging.getLogger(__name__)

MAX_OPEN_REQUESTS = 1024
"""Requests of one connection that may be open at the same time."""


async def serve_connection(
    host: ModelHost, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the frames of one connection until it ends; what it still waited for is cancelled."""
    try:
        async with TaskSupervisor("replica connection") as tasks:
            connection = _Connection(host, writer, tasks)
            while (frame := await frames.read(reader, frames.to_replica)) is not None:
                await connection.take(frame)
    except FarlaneError as error:
        log.warning("a connection is closed: %s", error)
    except ConnectionError:
        pass  # the client went away while it was written to
    finally:
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()


class _Connection:
    def __init__(self, host: ModelHost, writer: asyncio.StreamWriter, tasks: TaskSupervisor) -> None:
        self._host = host
        self._writer = writer
        self._tasks = tasks
        self._open: dict[int, asyncio.Task[None]] = {}

    async def take(self, frame: frames.ToReplica) -> None:
        """Begin, cancel or answer."""
        if isinstance(frame, frames.Cancel):
            if (task := self._open.get(frame.id)) is not None:
                task.cancel()
        elif isinstance(frame, frames.Ask):
            if frame.id in self._open:
                raise Conflict(f"request {frame.id} is open already; each request needs an id of its own")
            if len(self._open) >= MAX_OPEN_REQUESTS:
                refusal = Exhausted(f"{MAX_OPEN_REQUESTS} requests of this connection are open already")
                await self._send(frames.failed_frame(frame.id, refusal))
                return
            self._start(frame.id, self._answer(frame))
        elif isinstance(frame, frames.Drain):
            if frame.id not in self._open:
                self._start(frame.id, self._drain(frame.id))
        elif isinstance(frame, frames.Describe):
            await self._send(frames.Described(frame.id, self._host.description))
        elif isinstance(frame, frames.Health):
            await self._send(frames.Healthy(frame.id, not self._host.draining))
        else:
            await self._send(frames.Counted(frame.id, self._host.statistics()))

    def _start(self, request_id: int, work: object) -> None:
        task: asyncio.Task[None] = self._tasks.start(work, f"request {request_id}", optional=True)  # type: ignore[arg-type]
        self._open[request_id] = task
        task.add_done_callback(lambda _: self._open.pop(request_id, None))

    async def _answer(self, frame: frames.Ask) -> None:
        try:
            async with contextlib.aclosing(self._host.answer(frame.request(), frame.deadline_s)) as replies:
                async for reply in replies:
                    await self._send(frames.reply_frame(frame.id, reply))
            await self._send(frames.End(frame.id))
        except ConnectionError:
            return  # the reader notices too and ends the connection
        except Exception as error:
            with contextlib.suppress(ConnectionError):
                await self._send(frames.failed_frame(frame.id, as_farlane_error(error)))

    async def _drain(self, request_id: int) -> None:
        await self._host.drain()
        with contextlib.suppress(ConnectionError):
            await self._send(frames.End(request_id))

    async def _send(self, frame: frames.FromReplica) -> None:
        self._writer.write(frames.encode(frame))
        await self._writer.drain()
