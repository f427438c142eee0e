"""A file as spans: named ranges of one element type each that lie side by side and cover all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from farlane.errors import Corrupted, InvalidInput
from farlane.kit.files import open_regular
from farlane.models.delta.elements import BYTES, Element


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a file: a tensor with its name, or what lies before, between and behind them, named after the file."""

    name: str
    offset: int
    length: int
    element: Element = BYTES

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.length


def covering(size_bytes: int, tensors: Iterable[Span], label: str = "") -> tuple[Span, ...]:
    """Return spans that cover a file: its tensors in order of offset, and one span of bytes for each gap.

    The gaps are called `label`. A tensor whose length is no multiple of its element's width is handled as bytes.

    Raises:
        InvalidInput: if tensors overlap or reach beyond the file.
    """
    spans: list[Span] = []
    at = 0
    for tensor in sorted(tensors, key=lambda span: (span.offset, span.length)):
        if tensor.length == 0:
            continue
        if tensor.offset < at or tensor.length < 0 or tensor.end > size_bytes:
            raise InvalidInput(
                f"tensor {tensor.name!r} at bytes {tensor.offset} to {tensor.end} overlaps another, or the end of the "
                f"file at {size_bytes}: expected tensors side by side"
            )
        if tensor.offset > at:
            spans.append(Span(label, at, tensor.offset - at))
        whole = tensor.length % tensor.element.width_bytes == 0
        spans.append(tensor if whole else Span(tensor.name, tensor.offset, tensor.length))
        at = tensor.end
    if at < size_bytes:
        spans.append(Span(label, at, size_bytes - at))
    return tuple(spans)


class SpannedFile:
    """An open file with its spans. Close it, or use it as a context manager.

    Args:
        path: a regular file.
        tensors: where its tensors lie; none for a file that is just bytes.
        cid: its CID as text, by which a delta names it.
        label: what its bytes outside of tensors are called: those of files of one label are compared.

    Raises:
        InvalidInput: if the tensors overlap or reach beyond the file.
        FileNotFoundError: if there is no file.
    """

    def __init__(self, path: Path, tensors: Iterable[Span] = (), cid: str = "", label: str = "") -> None:
        self.path = path
        self.cid = cid
        self._descriptor = open_regular(path)
        try:
            self.size_bytes = os.fstat(self._descriptor).st_size
            self.spans = covering(self.size_bytes, tensors, label)
        except BaseException:
            os.close(self._descriptor)
            raise

    def read(self, offset: int, length: int) -> bytearray:
        """Return exactly `length` bytes; safe from several threads.

        Raises:
            Corrupted: if the file ends before.
        """
        data = bytearray(length)
        view = memoryview(data)
        done = 0
        while done < length:
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            if count == 0:
                raise Corrupted(
                    f"{self.path} ends at {offset + done} bytes, {self.size_bytes} were there before: fetch it again",
                    path=str(self.path),
                )
            done += count
        return data

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
