"""What a forked worker does to itself before it touches a stranger's bytes: session, signals, descriptors, limits."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys

from farlane.node.executors.command_run import HOME, TMP, WORK
from farlane.node.executors.frames import Spawn
from farlane.node.executors.process_control import adopt_orphans, die_with_parent, name_process

SOCKET, PROGRESS, STDOUT, STDERR = 3, 4, 5, 6
"""Descriptors of a worker; everything from 7 on is closed before a task runs."""

_OPEN_FILES_SOFT, _OPEN_FILES_HARD = 4096, 65536


def confine(descriptors: tuple[int, int, int, int], zygote: int) -> None:
    """Turn a fresh fork into a worker: own session, dies with the zygote, only its own descriptors.

    Args:
        descriptors: work socket, progress memory, stdout and stderr pipe; they move to 3, 4, 5, 6.
        zygote: process id of the parent.
    """
    os.setsid()
    die_with_parent(signal.SIGKILL, zygote)
    adopt_orphans()
    name_process("farlane-worker")
    _default_signals()
    _keep_only(descriptors)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = _OPEN_FILES_HARD if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES_HARD)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES_SOFT, hard), hard))


def _default_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):  # SIGKILL, SIGSTOP and the C library's own
            signal.signal(number, signal.SIG_DFL)
    # As in every Python program: a closed pipe and a file beyond its limit are exceptions, not deaths.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _keep_only(descriptors: tuple[int, int, int, int]) -> None:
    # First far up, then down: a target number may be one of the sources.
    high = [os.dup2(descriptor, 100 + place) for place, descriptor in enumerate(descriptors)]
    for place, descriptor in zip((SOCKET, PROGRESS, STDOUT, STDERR), high, strict=True):
        os.dup2(descriptor, place, inheritable=False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0, inheritable=True)
    os.close(null)
    os.closerange(STDERR + 1, 4096)  # the zygote's own and the copies; it never has many


class Surroundings:
    """Environment variables, directories and resource limits of a worker, set anew for each task.

    Args:
        spawn: what the node asked for.
    """

    def __init__(self, spawn: Spawn) -> None:
        for name in (WORK, HOME, TMP):
            os.makedirs(os.path.join(spawn.scratch, name), mode=0o700, exist_ok=True)
        self._emptied = [os.path.join(spawn.scratch, name) for name in (WORK, TMP)]
        self._work = os.open(self._emptied[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._base = {
            **dict(spawn.env),
            "HOME": os.path.join(spawn.scratch, HOME),
            "TMPDIR": os.path.join(spawn.scratch, TMP),
        }
        self._task_env: tuple[tuple[str, str], ...] = ()
        self._limits = (0, 0)
        self._headroom_bytes = spawn.memory_headroom_bytes
        self._own_data_bytes = _data_bytes()
        if spawn.site_path is not None:
            sys.path.insert(0, spawn.site_path)
        self.reset()

    def reset(self) -> bool:
        """Make ready for the next bundle: base environment, empty working and temporary directory.

        HOME stays: caches of downloaded models belong there, and only this publisher's tasks see them.

        Returns:
            Whether that is possible: a task may have removed the directories themselves.
        """
        os.environ.pop("FARLANE_TASK_INDEX", None)
        if os.environ != self._base:
            os.environ.clear()
            os.environ.update(self._base)
        self._task_env = ()
        try:
            for directory in self._emptied:
                _empty(directory)
        except OSError:
            return False
        return True

    def enter(self, env: tuple[tuple[str, str], ...], index: int, memory_bytes: int, disk_bytes: int) -> None:
        """Set what the next task sees and how far it may go."""
        if env != self._task_env:
            for name, _ in self._task_env:
                os.environ.pop(name, None)
            os.environ.update(self._base)
            os.environ.update(env)
            self._task_env = env
        os.environ["FARLANE_TASK_INDEX"] = str(index)
        os.fchdir(self._work)
        if (memory_bytes, disk_bytes) != self._limits:
            self._limits = (memory_bytes, disk_bytes)
            self._limit(memory_bytes, disk_bytes)

    def _limit(self, memory_bytes: int, disk_bytes: int) -> None:
        # Soft limits only: they must rise again for the next task. Who raises them himself meets the watchdog.
        # RLIMIT_DATA counts private writable mappings, touched or not; so one huge allocation fails at once with
        # MemoryError, before the watchdog's next look. GPU drivers map far more than they use: no limit then.
        data = resource.RLIM_INFINITY
        if memory_bytes and not self._base.get("CUDA_VISIBLE_DEVICES"):
            data = self._own_data_bytes + memory_bytes + self._headroom_bytes
        _soft(resource.RLIMIT_DATA, data)
        _soft(resource.RLIMIT_FSIZE, disk_bytes or resource.RLIM_INFINITY)


def _soft(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = hard if value == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, hard))


def _data_bytes() -> int:
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read().split()[5]) * resource.getpagesize()


def _empty(directory: str) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
