"""Bodies of requests: read and unpacked piece by piece, so that neither size nor a compressed bomb fills the memory."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from farlane.errors import DeadlineExceeded, InvalidInput, TooLarge
from farlane.hub.gateway.limits import ByteBudget

ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_STEP_BYTES = 256 << 10


class Unpacker:
    """Unpacks one body as it arrives.

    Args:
        encoding: its `Content-Encoding`, in lower case; empty or `identity` for none.
        limit: how many bytes it may have, packed and unpacked.

    Raises:
        InvalidInput: an encoding that is not known.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._limit, self._packed, self._unpacked = limit, 0, 0
        self._zip = None
        if encoding not in ("", "identity"):
            if encoding not in ENCODINGS:
                raise InvalidInput(
                    f"Content-Encoding {encoding[:40]!r} is not supported; expected gzip or deflate"
                )
            self._zip = zlib.decompressobj(ENCODINGS[encoding])

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what some more bytes unpack to, in pieces of bounded size.

        Raises:
            TooLarge: the body has more bytes than it may.
            InvalidInput: it is not of its encoding.
        """
        self._packed += len(data)
        self._check(self._packed)
        if self._zip is None:
            yield data
            return
        while data:
            if self._zip.eof:
                raise InvalidInput("bytes follow the end of the compressed body")
            try:
                piece = self._zip.decompress(data, _STEP_BYTES)
            except zlib.error as error:
                raise InvalidInput(f"the body is not of its Content-Encoding: {error}") from error
            data = self._zip.unconsumed_tail or self._zip.unused_data
            self._unpacked += len(piece)
            self._check(self._unpacked)
            yield piece

    def finish(self) -> None:
        """Make sure that nothing is missing.

        Raises:
            InvalidInput: the compressed body was cut off.
        """
        if self._zip is not None and not self._zip.eof:
            raise InvalidInput("the compressed body was cut off")

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise TooLarge(f"the body is larger than the {self._limit} bytes that this gateway takes")


@contextmanager
def held(budget: ByteBudget) -> Iterator[HeldBody]:
    """Hold one body's bytes within a budget during a block."""
    body = HeldBody(budget)
    try:
        yield body
    finally:
        budget.give_back(body.size)


@contextmanager
def holding(budget: ByteBudget, size: int) -> Iterator[None]:
    """Hold so many bytes of a budget during a block.

    Raises:
        Exhausted: there is no room for them.
    """
    budget.take(size)
    try:
        yield
    finally:
        budget.give_back(size)


class HeldBody:
    """One body as it grows."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget, self.size, self.arrived = budget, 0, 0
        """Bytes held, and bytes as they arrived."""

    async def read(self, pieces: AsyncIterator[bytes], unpacker: Unpacker, timeout_s: float) -> bytes:
        """Return the whole body, unpacked.

        Raises:
            TooLarge: it is larger than it may be.
            Exhausted: other bodies fill the budget.
            InvalidInput: it is not of its encoding.
            DeadlineExceeded: it takes longer to arrive than it may.
        """
        found = bytearray()
        try:
            async with asyncio.timeout(timeout_s):
                async for data in pieces:
                    self.arrived += len(data)
                    for piece in unpacker.feed(data):
                        self._budget.take(len(piece))
                        self.size += len(piece)
                        found += piece
        except TimeoutError as error:
            raise DeadlineExceeded(f"the body did not arrive within {timeout_s:g} s") from error
        unpacker.finish()
        return bytes(found)
