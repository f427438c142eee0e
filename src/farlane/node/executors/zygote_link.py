"""The node's end of the zygote: starts it, asks it for workers, hears what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

import farlane
from farlane.errors import Unavailable
from farlane.node.executors import frames

MARK_VARIABLE = "FARLANE_EXECUTOR"
"""Environment variable that marks every process of one executor, the last means to find them all."""

_NOTICE_BYTES = 4096


class ZygoteLink:
    """One zygote process.

    Args:
        python: interpreter to start.
        environment: its environment, and the first of every worker.
        directory: its working directory.
        on_notice: called with each message, and with None once when the zygote is gone.
    """

    def __init__(
        self,
        python: str,
        environment: dict[str, str],
        directory: str,
        on_notice: Callable[[frames.Ready | frames.Forked | frames.Exited | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_notice = on_notice
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._socket = ours
            ours.setblocking(False)
            try:
                self._process = _start(python, environment, directory, theirs.fileno())
            except OSError as error:
                ours.close()
                raise Unavailable(
                    f"cannot start {python} for the workers: {error.strerror}", python=python
                ) from error
        self._loop.add_reader(ours.fileno(), self._read)

    def spawn(self, request: frames.Spawn, descriptors: tuple[int, ...]) -> None:
        """Ask for a worker; the descriptors are the link's from here on."""
        self._send(frames.encoder.encode(request), descriptors)

    def kill(self, worker: int) -> None:
        """Ask for the end of a worker and all it started."""
        self._send(frames.encoder.encode(frames.Kill(worker)), ())

    def hang_up(self) -> None:
        """End the zygote and every worker; `wait` tells when they are gone."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
        for _, descriptors in self._waiting:
            _close(descriptors)
        self._waiting.clear()

    def wait(self, timeout_s: float) -> int:
        """Wait for the end of the process (blocking: call it in a thread); kill it if it takes longer.

        Returns:
            Its exit code.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _send(self, message: bytes, descriptors: tuple[int, ...]) -> None:
        if self._socket.fileno() < 0:
            _close(descriptors)
            return
        self._waiting.append((message, descriptors))
        if len(self._waiting) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            message, descriptors = self._waiting[0]
            try:
                socket.send_fds(self._socket, [message], descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._flush)
                return
            except OSError:
                pass  # it is gone; `_read` finds out and tells
            self._waiting.popleft()
            _close(descriptors)
        self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        while self._socket.fileno() >= 0:
            try:
                message = self._socket.recv(_NOTICE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self.hang_up()
                self._on_notice(None)
                return
            self._on_notice(frames.notice_decoder.decode(message))


def _close(descriptors: tuple[int, ...]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _start(
    python: str, environment: dict[str, str], directory: str, descriptor: int
) -> subprocess.Popen[bytes]:
    # -P: the working directory is not searched for modules. farlane itself may be imported from anywhere.
    package_parent = str(Path(farlane.__file__).parent.parent)
    return subprocess.Popen(
        [python, "-P", "-m", "farlane.node.executors.zygote", str(descriptor), str(os.getpid())],
        env={**environment, "PYTHONPATH": package_parent},
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(descriptor,),
    )
