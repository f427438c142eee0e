"""Processes that run episodes: they end with the one that began them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import os, time
from farlane.lab.training.panel import Panel

if __name__ == "__main__":
    panel = Panel((), 1)
    print(panel._pool.submit(os.getpid).result(), flush=True)
    time.sleep(120)
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(SCRIPT)
    owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout as said:
        worker = int(said.readline())
    owner.send_signal(signal.SIGKILL)
    owner.wait(10)
    until = time.monotonic() + 30
    while _runs(worker):
        assert time.monotonic() < until, "the worker outlived its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.returncode == 0 and not state.stdout.startswith("Z")
