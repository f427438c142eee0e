"""Finding each task's output in a worker's pipe, and keeping no more of it than its cap (no input or output here)."""

from __future__ import annotations

from farlane.node.executors.worker_streams import MARK, NONCE_BYTES

TRUNCATED = b"\n[farlane] output truncated: the cap of %d bytes per stream is reached, the rest is dropped\n"


class StreamCapture:
    """Splits one stream of one worker at its end marks.

    Args:
        nonce: what the worker's marks begin with.
        max_bytes: bytes kept per task.
    """

    def __init__(self, nonce: bytes, max_bytes: int) -> None:
        self._nonce = nonce
        self._max_bytes = max_bytes
        self._tail = b""
        self._kept = 0
        self._pieces: list[tuple[int, bytes]] = []
        self.complete = 0
        """Sequence of the last item whose output is here entirely."""
        self.held_bytes = 0
        """Bytes found and not yet taken."""

    def feed(self, chunk: bytes) -> None:
        """Take what was read from the pipe."""
        data = self._tail + chunk if self._tail else chunk
        self._tail = b""
        if self._is_only_marks(data):
            self.complete += len(data) // MARK.size
            self._kept = 0
            return
        position = 0
        while (found := data.find(self._nonce, position)) >= 0:
            self._keep(data, position, found)
            position = found
            if len(data) - found < MARK.size:
                break
            position = found + MARK.size
            self._end(MARK.unpack_from(data, found)[1])
        else:
            # Nothing is held back that cannot be the beginning of a mark: live output must not hang.
            end = len(data) - self._begun_mark(data, position)
            self._keep(data, position, end)
            position = end
        self._tail = data[position:]

    def finish(self) -> None:
        """Take the rest for output: the worker is gone and will write no mark."""
        self._keep(self._tail, 0, len(self._tail))
        self._tail = b""

    def take(self) -> list[tuple[int, bytes]]:
        """Return output not taken yet as (sequence, bytes), one entry per item, in order."""
        pieces, self._pieces, self.held_bytes = self._pieces, [], 0
        if len(pieces) < 2:
            return pieces
        joined: dict[int, list[bytes]] = {}
        for sequence, piece in pieces:
            joined.setdefault(sequence, []).append(piece)
        return [(sequence, b"".join(parts)) for sequence, parts in joined.items()]

    def _is_only_marks(self, data: bytes) -> bool:
        """Recognise the usual case, tasks that print nothing, by one look at the last mark."""
        count, rest = divmod(len(data), MARK.size)
        if not count or rest or data.count(self._nonce) != count:
            return False
        last: int = MARK.unpack_from(data, len(data) - MARK.size)[1]
        return last == self.complete + count

    def _end(self, sequence: int) -> None:
        # Anything but the next number was written by the task itself: it would only garble its own log.
        if sequence == self.complete + 1:
            self.complete = sequence
            self._kept = 0

    def _keep(self, data: bytes, start: int, end: int) -> None:
        room = self._max_bytes - self._kept
        if end <= start or room < 0:
            return
        piece = data[start : min(end, start + room)]
        self._kept += len(piece)
        if end - start > room:
            piece += TRUNCATED % self._max_bytes
            self._kept = self._max_bytes + 1
        self.held_bytes += len(piece)
        self._pieces.append((self.complete + 1, piece))

    def _begun_mark(self, data: bytes, position: int) -> int:
        """Return how many bytes at the end of `data` may be the beginning of a nonce."""
        start = max(position, len(data) - NONCE_BYTES + 1)
        while (start := data.find(self._nonce[:1], start)) >= 0:
            if self._nonce.startswith(data[start:]):
                return len(data) - start
            start += 1
        return 0
