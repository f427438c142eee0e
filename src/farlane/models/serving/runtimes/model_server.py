"""A server of models as a child process: started, waited for, asked over a unix socket, ended with this process."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from farlane.errors import ConnectionLost, FarlaneError, Unavailable
from farlane.models.serving.runtimes.guard import GRACE_S
from farlane.models.serving.runtimes.openai_client import OpenAIClient

START_S = 3600.0
"""How long a server may load; whoever started the replica gives up long before."""
LOOK_S = 0.1


class ModelServer:
    """A server that answers; nobody but this process's user can reach its socket.

    Args:
        name: for errors.
        command: takes the socket's path and the key that the server is to ask for, and returns the command line and
            what its environment has besides this process's own.
        start_timeout_s: how long until it is healthy.

    Raises:
        ConnectionLost: it ended before it was healthy.
        Unavailable: it was not healthy in time.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[Path, str], tuple[list[str], Mapping[str, str]]],
        *,
        start_timeout_s: float = START_S,
    ) -> None:
        self._name, self._closed = name, False
        self._folder = Path(tempfile.mkdtemp(prefix="model-server-"))  # of mode 0700
        path, key = self._folder / "http.sock", secrets.token_hex(32)
        arguments, environment = command(path, key)
        guard = Path(__file__).with_name("guard.py")
        self._guard = subprocess.Popen(
            [sys.executable, "-P", str(guard), str(self._folder), *arguments],
            stdin=subprocess.PIPE,
            stdout=2,  # what it prints belongs into the log
            env=os.environ | dict(environment),
        )
        self.client = OpenAIClient(path, name, key)
        """Asks the server."""
        try:
            self._until_healthy(start_timeout_s)
        except BaseException:
            self.close()
            raise

    def _until_healthy(self, timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not self.client.healthy():
            if self._guard.poll() is not None:
                raise self._ended("before it was ready")
            if time.monotonic() > end_s:
                raise Unavailable(f"{self._name} was not ready within {timeout_s:g} s; give it more time")
            time.sleep(LOOK_S)

    def wait(self) -> FarlaneError | None:
        """Wait until the server is gone; return why, or None where `close` ended it."""
        self._guard.wait()
        return None if self._closed else self._ended("while it served")

    def _ended(self, when: str) -> ConnectionLost:
        code = self._guard.returncode
        how = f"by signal {code - 128}" if code > 128 else f"with exit code {code}"
        return ConnectionLost(
            f"{self._name} ended {how} {when}; the replica's log has its last words. A model may be too large for "
            "the GPU's memory, or newer than the installed version",
            exit_code=code,
        )

    def close(self) -> None:
        """End the server."""
        self._closed = True
        assert self._guard.stdin is not None  # opened as a pipe
        with contextlib.suppress(OSError):
            self._guard.stdin.close()
        try:
            self._guard.wait(2 * GRACE_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
