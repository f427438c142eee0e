"""Dynamic batching: which waiting requests run together, decided without clock, loop or model.

A batch holds requests with equal keys, oldest first, until its rows are full or its oldest request has waited long
enough. Rows are joined along the first axis; since arrays are stored row by row, joining is joining bytes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from farlane.domain.inference import (
    Datatype,
    EmbedReply,
    EmbedRequest,
    Tensor,
    TensorsReply,
    TensorsRequest,
)
from farlane.errors import Internal

Batchable = TensorsRequest | EmbedRequest


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request in the queue."""

    ticket: int
    key: Hashable | None
    """Requests with equal keys may share a batch; None runs alone."""
    rows: int
    since_s: float


class BatchQueue:
    """Requests that wait, in order of arrival.

    Args:
        max_rows: rows of one batch; a request with more runs alone.
        max_delay_s: how long a request waits for company.
    """

    def __init__(self, max_rows: int, max_delay_s: float) -> None:
        self._max_rows = max_rows
        self._max_delay_s = max_delay_s
        self._waiting: dict[int, Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: Waiting) -> None:
        """Append a request."""
        self._waiting[waiting.ticket] = waiting

    def remove(self, ticket: int) -> None:
        """Forget a request whose asker is gone; one that runs already is not here."""
        self._waiting.pop(ticket, None)

    def due_s(self) -> float | None:
        """Return when the oldest request has waited long enough; None while nothing waits."""
        if not self._waiting:
            return None
        return min(waiting.since_s for waiting in self._waiting.values()) + self._max_delay_s

    def take(self, now_s: float) -> list[int]:
        """Remove the first batch that is due and return its tickets; nothing while none is."""
        seen: set[Hashable] = set()
        for first in self._waiting.values():
            if first.key in seen:
                continue
            if first.key is not None:
                seen.add(first.key)
            batch, full = self._batch(first)
            if full or now_s - first.since_s >= self._max_delay_s:
                for ticket in batch:
                    del self._waiting[ticket]
                return batch
        return []

    def _batch(self, first: Waiting) -> tuple[list[int], bool]:
        if first.key is None or first.rows >= self._max_rows:
            return [first.ticket], True
        batch: list[int] = []
        rows = 0
        for other in self._waiting.values():
            if other.key != first.key:
                continue
            if rows + other.rows > self._max_rows:
                return batch, True
            batch.append(other.ticket)
            rows += other.rows
        return batch, rows == self._max_rows


def rows_of(request: Batchable) -> int:
    """Count the rows along the first axis."""
    if isinstance(request, EmbedRequest):
        return len(request.texts)
    return max((t.shape[0] for t in request.inputs if t.shape), default=1)


def batch_key(request: Batchable, max_batch: int) -> Hashable | None:
    """Return what requests must share to run together; None where a request has to run alone.

    Args:
        request: arrays or texts.
        max_batch: the model's; 1 means that its first axis is no batch.
    """
    if isinstance(request, EmbedRequest):
        return "embed", request.dimensions
    rows = {tensor.shape[:1] for tensor in request.inputs}
    if max_batch <= 1 or len(rows) != 1 or not all(shape and shape[0] for shape in rows):
        return None
    if any(tensor.datatype is Datatype.BYTES for tensor in request.inputs):
        return None  # elements of different lengths cannot be cut apart by counting
    arrays = tuple(sorted((t.name, t.datatype.value, t.shape[1:]) for t in request.inputs))
    return arrays, request.outputs, request.parameters


def join(requests: Sequence[Batchable]) -> Batchable:
    """Make one request of several with equal keys."""
    first = requests[0]
    if len(requests) == 1:
        return first
    if isinstance(first, EmbedRequest):
        texts = tuple(text for request in requests for text in _embeds(request).texts)
        return replace(first, texts=texts)
    by_name = [{t.name: t for t in _arrays(request).inputs} for request in requests]
    return replace(first, inputs=tuple(_joined([row[t.name] for row in by_name]) for t in first.inputs))


def _joined(parts: list[Tensor]) -> Tensor:
    rows = sum(part.shape[0] for part in parts)
    return replace(parts[0], shape=(rows, *parts[0].shape[1:]), data=b"".join(part.data for part in parts))


def split(reply: TensorsReply | EmbedReply, rows: Sequence[int]) -> list[TensorsReply | EmbedReply]:
    """Cut a batch's reply into one for each request.

    Args:
        reply: of the joined request.
        rows: of each request, in order.

    Raises:
        Internal: the model's answer does not have a row for each of the batch's.
    """
    if len(rows) == 1:
        return [reply]
    if isinstance(reply, EmbedReply):
        return list(_split_vectors(reply, rows))
    parts = [_split_tensor(tensor, rows) for tensor in reply.outputs]
    return [TensorsReply(tuple(outputs)) for outputs in zip(*parts, strict=True)]


def _split_vectors(reply: EmbedReply, rows: Sequence[int]) -> list[EmbedReply]:
    size, start, found = reply.dimensions * 4, 0, []
    for count in rows:
        end = start + count
        tokens = reply.text_tokens[start:end]
        vectors = reply.vectors[start * size : end * size]
        found.append(replace(reply, vectors=vectors, prompt_tokens=sum(tokens), text_tokens=tokens))
        start = end
    return found


def _split_tensor(tensor: Tensor, rows: Sequence[int]) -> list[Tensor]:
    total = sum(rows)
    if tensor.datatype is Datatype.BYTES or not tensor.shape or tensor.shape[0] != total:
        raise Internal(
            f"a batch of {total} rows got an output {tensor.name!r} of shape {list(tensor.shape)}; its first axis is "
            "no batch. Serve this model with max_batch 1",
            output=tensor.name,
        )
    size = len(tensor.data) // total
    found, start = [], 0
    for count in rows:
        found.append(
            replace(
                tensor,
                shape=(count, *tensor.shape[1:]),
                data=tensor.data[start * size : (start + count) * size],
            )
        )
        start += count
    return found


def _embeds(request: Batchable) -> EmbedRequest:
    assert isinstance(request, EmbedRequest)  # equal keys
    return request


def _arrays(request: Batchable) -> TensorsRequest:
    assert isinstance(request, TensorsRequest)  # equal keys
    return request
