"""The zygote: a small interpreter that forks workers on request and leaves nothing behind when they end.

Run as `python -m farlane.node.executors.zygote SOCKET`. It holds only what every worker needs and never loads grpc
or asyncio: a fork of a process with their threads hangs. It adopts the orphans of a worker that died, and a worker
adopts its own while it lives, so nothing a task starts can get away by daemonising.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

from farlane.node.executors import confinement, frames
from farlane.node.executors.process_control import (
    adopt_orphans,
    die_with_parent,
    kill_descendants,
    name_process,
)
from farlane.node.executors.worker import Worker

_MAX_REQUEST_BYTES = 1 << 16


class Zygote:
    """Forks, watches and buries workers.

    Args:
        control: SOCK_SEQPACKET socket to the node.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, int] = {}  # pid -> worker
        self._stopping = False

    def run(self) -> None:
        """Serve until the node hangs up or asks to stop, then kill everything."""
        self._pid = os.getpid()
        wake_up, wake_up_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_up_end)
        signal.signal(signal.SIGCHLD, _only_wake_up)
        signal.signal(signal.SIGTERM, self._on_terminate)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(wake_up, select.POLLIN)
        self._notify(frames.Ready(self._pid))
        while not self._stopping:
            for descriptor, _ in poll.poll():
                if descriptor == wake_up:
                    os.read(wake_up, 4096)
                    self._bury()
                else:
                    self._serve()
        kill_descendants()

    def _on_terminate(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _serve(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(
                self._control, _MAX_REQUEST_BYTES, 4, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:  # the node hung up with notices of ours unread
            message, descriptors = b"", []
        if not message:
            self._stopping = True
            return
        request = frames.request_decoder.decode(message)
        if isinstance(request, frames.Spawn):
            self._fork(request, descriptors)
        else:
            for pid, worker in self._workers.items():
                if worker == request.worker:  # still ours to reap, so the number cannot be another process's
                    os.kill(pid, signal.SIGKILL)

    def _fork(self, spawn: frames.Spawn, descriptors: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._notify(frames.Exited(spawn.worker, -1, 0.0, 0, f"fork: {error.strerror}"))
        else:
            if pid == 0:
                self._become_worker(spawn, descriptors)
            self._workers[pid] = spawn.worker
            self._notify(frames.Forked(spawn.worker, pid))
        for descriptor in descriptors:
            os.close(descriptor)

    def _become_worker(self, spawn: frames.Spawn, descriptors: list[int]) -> NoReturn:
        code = 70  # EX_SOFTWARE: the worker's own code failed
        try:
            work, progress, stdout, stderr = descriptors
            confinement.confine((work, progress, stdout, stderr), self._pid)
            Worker(spawn).run()
            code = 0
        except BaseException:
            with contextlib.suppress(BaseException):
                sys.excepthook(*sys.exc_info())
                sys.stderr.flush()
        finally:
            os._exit(code)

    def _bury(self) -> None:
        exited: list[frames.Exited] = []
        cpu_s = 0.0
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            used_s = usage.ru_utime + usage.ru_stime
            worker = self._workers.pop(pid, None)
            if worker is None:
                cpu_s += used_s  # an orphan that ended by itself
            else:
                exited.append(frames.Exited(worker, status, used_s, usage.ru_maxrss * 1024))
        if not exited:
            return
        # A dead worker's orphans are our children now; those of living workers are not.
        exited[0].cpu_s += cpu_s + kill_descendants(spare=frozenset(self._workers))
        for notice in exited:
            self._notify(notice)

    def _notify(self, notice: frames.Ready | frames.Forked | frames.Exited) -> None:
        try:
            self._control.send(frames.encoder.encode(notice))
        except OSError:
            self._stopping = True  # the node is gone


def _only_wake_up(signum: int, frame: FrameType | None) -> None:
    """Handle SIGCHLD by doing nothing: that it was caught wakes the loop through the wake-up pipe."""


def main() -> None:
    """Run a zygote on the socket whose descriptor is the first argument, for the parent in the second."""
    # First TERM, so that it can kill its workers and their orphans; the workers die with it in any case.
    die_with_parent(signal.SIGTERM, int(sys.argv[2]))
    adopt_orphans()
    name_process("farlane-zygote")
    # Ctrl-C on the node's terminal: the node decides what ends when.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.pop("PYTHONPATH", None)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, every page the workers share
    with socket.socket(fileno=int(sys.argv[1])) as control:
        Zygote(control).run()


if __name__ == "__main__":
    main()
