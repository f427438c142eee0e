"""The fleet: the zygote and every worker of one executor, from the request to fork one to its burial."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from concurrent.futures import Executor
from typing import Protocol

from farlane.errors import Unavailable
from farlane.node.executors import frames
from farlane.node.executors.process_control import kill_marked
from farlane.node.executors.scratch import Scratch
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.node.executors.watch import MemoryWatch
from farlane.node.executors.worker_link import WorkerKey, WorkerLink
from farlane.node.executors.zygote_link import MARK_VARIABLE, ZygoteLink

log = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 10.0
_QUICK_DEATHS, _DEATHS_WINDOW_S, _DEATHS_PAUSE_S = 5, 60.0, 5.0


class FleetOwner(Protocol):
    """Who uses the workers."""

    def on_results(self, worker: WorkerLink) -> None:
        """Hear that a worker has results or output."""

    def on_broken(self, worker: WorkerLink, what: str) -> None:
        """Hear that a worker sent what no worker sends."""

    def on_exited(self, worker: WorkerLink, notice: frames.Exited) -> None:
        """Hear that a worker is gone with all it started; it must be closed."""

    def on_zygote_ready(self) -> None:
        """Hear that workers can be forked (again)."""


class Fleet:
    """Starts, replaces and ends worker processes.

    Args:
        settings: see there.
        scratch: where the workers live.
        threads: for waits that block.
        owner: who hears of what happens.
    """

    def __init__(
        self, settings: ProcessExecutorSettings, scratch: Scratch, threads: Executor, owner: FleetOwner
    ) -> None:
        self._settings = settings
        self._scratch = scratch
        self._threads = threads
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._zygote: ZygoteLink | None = None
        self._closed = False
        self._deaths: deque[float] = deque(maxlen=_QUICK_DEATHS)
        self._workers: dict[int, WorkerLink] = {}
        self._last_number = 0

    @property
    def can_spawn(self) -> bool:
        """Whether there is a zygote to fork from."""
        return self._zygote is not None

    async def start(self) -> None:
        """Start the zygote.

        Raises:
            Unavailable: if it does not come up in time.
        """
        try:
            self._start_zygote()
            async with asyncio.timeout(self._settings.start_timeout_s):
                await self._ready
        except (TimeoutError, Unavailable) as error:
            await self.close()
            raise Unavailable(
                f"the interpreter for workers did not come up ({str(error) or 'it took too long'}): run "
                f"`{self._settings.python} -m farlane.node.executors.zygote` and read what it prints"
            ) from error

    def spawn(self, key: WorkerKey) -> WorkerLink:
        """Return a new worker; it can be given work at once. `can_spawn` must hold."""
        assert self._zygote is not None
        self._last_number += 1
        number = self._last_number
        worker = WorkerLink(
            number,
            key,
            self._scratch,
            self._settings.max_log_bytes,
            self._owner.on_results,
            self._owner.on_broken,
        )
        self._workers[number] = worker
        request = frames.Spawn(
            number,
            self._scratch.of_worker(number),
            key.site_path,
            list(self._worker_environment(key).items()),
            worker.nonce,
            self._settings.memory_headroom_bytes,
            self._settings.max_result_bytes,
        )
        self._zygote.spawn(request, worker.inherited)
        return worker

    def kill(self, worker: WorkerLink) -> None:
        """End a worker and all it started; `on_exited` follows."""
        if self._zygote is not None:
            self._zygote.kill(worker.number)

    async def close(self) -> None:
        """End every process of the fleet; nothing is heard of it afterwards."""
        self._closed = True
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()
        if self._zygote is not None:
            self._zygote.hang_up()
            await self._loop.run_in_executor(self._threads, self._bury, self._zygote)

    def _start_zygote(self) -> None:
        environment = {**self._passed_environment(), MARK_VARIABLE: self._scratch.root}
        self._zygote = ZygoteLink(self._settings.python, environment, self._scratch.root, self._on_notice)

    def _passed_environment(self) -> dict[str, str]:
        return {name: os.environ[name] for name in self._settings.pass_environment if name in os.environ}

    def _worker_environment(self, key: WorkerKey) -> dict[str, str]:
        environment = self._passed_environment()
        programs = [os.path.dirname(self._settings.python), environment.get("PATH") or os.defpath]
        if key.site_path is not None:
            programs.insert(0, os.path.join(key.site_path, "bin"))
            environment["PYTHONPATH"] = key.site_path
        environment["PATH"] = os.pathsep.join(programs)
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order in which NVML counts them
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, key.gpus))
        environment[MARK_VARIABLE] = self._scratch.root
        return environment

    def _on_notice(self, notice: frames.Ready | frames.Forked | frames.Exited | None) -> None:
        if notice is None:
            self._on_zygote_gone()
        elif isinstance(notice, frames.Ready):
            if not self._ready.done():
                self._ready.set_result(None)
        elif isinstance(notice, frames.Exited):
            if worker := self._workers.pop(notice.worker, None):
                self._owner.on_exited(worker, notice)
        elif worker := self._workers.get(notice.worker):
            worker.pid = notice.pid
            worker.watch = MemoryWatch(notice.pid)

    def _on_zygote_gone(self) -> None:
        if self._closed or self._zygote is None:
            return
        if not self._ready.done():
            self._ready.set_exception(Unavailable("it ended before it was ready"))
            return
        log.error("the zygote of the workers was killed: what ran is lost, a new one is started")
        zygote, self._zygote = self._zygote, None
        workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            self._owner.on_exited(
                worker, frames.Exited(worker.number, -1, 0.0, 0, "its parent process was killed")
            )
        buried = self._loop.run_in_executor(self._threads, self._bury, zygote)
        buried.add_done_callback(lambda _: self._loop.call_later(self._pause_s(), self._restart))

    def _pause_s(self) -> float:
        now_s = time.monotonic()
        quick = len(self._deaths) == _QUICK_DEATHS and now_s - self._deaths[0] < _DEATHS_WINDOW_S
        self._deaths.append(now_s)
        return _DEATHS_PAUSE_S if quick else 0.0

    def _restart(self) -> None:
        if not self._closed:
            self._start_zygote()
            self._owner.on_zygote_ready()

    def _bury(self, zygote: ZygoteLink) -> None:
        zygote.wait(_CLOSE_TIMEOUT_S)
        kill_marked(f"{MARK_VARIABLE}={self._scratch.root}")  # orphans it adopted, had it been killed
