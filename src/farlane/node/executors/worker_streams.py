"""A worker's stdout and stderr: pipes to the node, with an end mark after each task so that output finds its task.

The mark is a nonce of this worker and the item's sequence. Results may overtake output on their way to the node; the
mark tells it that a task's output is complete.
"""

from __future__ import annotations

import io
import os
import struct
import sys

NONCE_BYTES = 16
MARK = struct.Struct(f"<{NONCE_BYTES}sQ")


class WorkerStreams:
    """Owns descriptors 1 and 2 and `sys.stdout` and `sys.stderr` of a worker.

    Args:
        stdout: write end of the pipe for standard output.
        stderr: the same for errors.
        nonce: what no output contains by chance.
    """

    def __init__(self, stdout: int, stderr: int, nonce: bytes) -> None:
        self._pipes = {1: stdout, 2: stderr}
        self._nonce = nonce
        self._texts: dict[int, io.TextIOWrapper] = {}
        self.restore()

    def restore(self) -> None:
        """Undo what a task did to the streams: closed or redirected descriptors, replaced or closed objects."""
        for number, pipe in self._pipes.items():
            os.dup2(pipe, number, inheritable=True)
            text = self._texts.get(number)
            if text is None or text.closed:
                # closefd=False: the object may go, the descriptor stays. Line-buffered, because logs are watched live.
                self._texts[number] = io.TextIOWrapper(
                    open(number, "wb", closefd=False),  # noqa: SIM115 - it lives as long as the worker
                    encoding="utf-8",
                    errors="backslashreplace",
                    line_buffering=True,
                )
        self._both = [(self._texts[number], pipe) for number, pipe in self._pipes.items()]
        sys.stdout = sys.__stdout__ = self._texts[1]  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._texts[2]  # type: ignore[misc]

    def end(self, sequence: int) -> None:
        """Flush what a task left in buffers and write its end marks."""
        mark = MARK.pack(self._nonce, sequence)
        for text, pipe in self._both:
            try:
                text.flush()
            except (ValueError, OSError):  # closed by the task
                self.restore()
            os.write(pipe, mark)  # shorter than PIPE_BUF, so never torn
        if sys.stdout is not self._texts[1] or sys.stderr is not self._texts[2]:
            self.restore()
