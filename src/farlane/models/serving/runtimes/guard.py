"""Runs a command that ends with whoever started this process, and with it all that the command has started.

    python guard.py FOLDER COMMAND...

Stdin's end is the death of the one who started it, however it died. A server that is killed itself can leave
processes behind that keep a GPU's memory; they are of its session, and are ended here. FOLDER, where its socket lies,
is removed at the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 3.0
"""How long the command may take to end by itself."""


def main(folder: str, *command: str) -> int:
    """Run the command to its end, and remove the folder then.

    Returns:
        Its exit code; 128 and the signal's number where one ended it.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: None)  # meant for all of a terminal: who started this ends it
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_stdin, args=(child,), daemon=True).start()
    code = child.wait()
    _signal(child.pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


def _end_with_stdin(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    _signal(child.pid, signal.SIGTERM)
    time.sleep(GRACE_S)  # the process is over before, where the command ends
    _signal(child.pid, signal.SIGKILL)


def _signal(group: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies
        os.killpg(group, signum)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
