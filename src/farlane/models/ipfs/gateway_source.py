"""Blocks from trustless gateways over HTTP: any of them may be asked, none is believed.

Source: IPFS specifications, trustless gateway, `application/vnd.ipld.raw`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from farlane.errors import (
    Corrupted,
    FarlaneError,
    InvalidInput,
    NotFound,
    TooLarge,
    Unavailable,
)
from farlane.kit.clock import Clock, SystemClock
from farlane.models.blocks.port import MAX_BLOCK_BYTES, Location
from farlane.models.cid import Cid, verify_block
from farlane.models.ipfs.endpoint import Answer, Endpoint

BLOCK_TIMEOUT_S: Final = 30.0
MAX_FAILURES: Final = 3
"""Failures in a row after which a gateway is left alone for a while."""
PAUSE_S: Final = 30.0
MAX_GATEWAYS: Final = 32
_ACCEPT: Final = {"Accept": "application/vnd.ipld.raw", "Accept-Encoding": "identity"}


@dataclass(slots=True)
class _Gateway:
    endpoint: Endpoint
    lied: bool = False
    failures: int = 0
    paused_until_s: float = 0.0


class GatewaySource:
    """Reads blocks from several gateways: the best so far first, the next where one has it not or fails.

    A gateway that sends other bytes than the block's is never asked again. May be used from any thread.

    Args:
        urls: of the gateways, such as `https://gateway.example`; the first is asked first.
        timeout_s: how long one gateway may take for one block.
        clock: tells when a gateway that failed may be asked again.

    Raises:
        InvalidInput: no URL, too many, or one that is none.
    """

    def __init__(
        self, urls: Sequence[str], *, timeout_s: float = BLOCK_TIMEOUT_S, clock: Clock | None = None
    ) -> None:
        if not 1 <= len(urls) <= MAX_GATEWAYS:
            raise InvalidInput(f"expected 1 to {MAX_GATEWAYS} gateways, not {len(urls)}")
        self._gateways = [_Gateway(Endpoint(url, timeout_s=timeout_s)) for url in dict.fromkeys(urls)]
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()

    @property
    def liars(self) -> tuple[str, ...]:
        """The gateways that sent wrong bytes and are not asked any more."""
        return tuple(gateway.endpoint.place for gateway in self._gateways if gateway.lied)

    def one_by_one(self) -> dict[str, GatewaySource]:
        """Return each gateway that has not lied as a source of its own, by scheme, host and port."""
        found: dict[str, GatewaySource] = {}
        for gateway in self._gateways:
            if not gateway.lied:
                alone = copy.copy(self)
                alone._gateways, alone._lock = [_Gateway(gateway.endpoint)], threading.Lock()
                found[gateway.endpoint.place] = alone
        return found

    def has(self, cid: Cid) -> bool:
        """Tell whether a gateway says that it has a block.

        Raises:
            Unavailable: none of them answers.
        """
        try:
            self._first(cid, "HEAD")
        except NotFound:
            return False
        return True

    def size(self, cid: Cid) -> int:
        """Return a block's size in bytes, by fetching it: what a gateway says of it proves nothing.

        Raises:
            NotFound, Unavailable, Corrupted: as `get`.
        """
        return len(self.get(cid))

    def get(self, cid: Cid) -> bytes:
        """Return a block, verified.

        Raises:
            NotFound: no gateway has it.
            Corrupted: every gateway that answered sent other bytes.
            Unavailable: none of them answers with the block, and at least one could not be asked.
        """
        return self._first(cid, "GET").body

    def locate(self, cid: Cid) -> Location | None:
        """Return None: nothing lies here.

        Raises:
            NotFound, Unavailable: as `has`.
        """
        if not self.has(cid):
            raise NotFound(f"no gateway has block {cid}", cid=cid.text)
        return None

    def _first(self, cid: Cid, method: str) -> Answer:
        """Return the first good answer."""
        problems: list[FarlaneError] = []
        for gateway in self._askable():
            try:
                answer = self._ask(gateway, cid, method)
            except NotFound as error:
                problems.append(error)
                self._note(gateway, failed=False)
            except FarlaneError as error:
                problems.append(error)
                self._note(gateway, failed=True, lied=isinstance(error, Corrupted | TooLarge))
            else:
                self._note(gateway, failed=False)
                return answer
        raise self._verdict(cid, problems)

    def _ask(self, gateway: _Gateway, cid: Cid, method: str) -> Answer:
        endpoint = gateway.endpoint
        path = f"/ipfs/{cid.text}?format=raw"
        answer = endpoint.ask(method, path, headers=_ACCEPT, max_bytes=MAX_BLOCK_BYTES)
        if answer.status in {404, 410}:
            raise NotFound(f"{endpoint.place} does not have block {cid}", cid=cid.text)
        if answer.status != 200:
            raise Unavailable(f"{endpoint.place} answers HTTP {answer.status} for block {cid}", cid=cid.text)
        if method == "GET":
            verify_block(cid, answer.body)
        return answer

    def _askable(self) -> list[_Gateway]:
        with self._lock:
            now = self._clock.monotonic()
            honest = [gateway for gateway in self._gateways if not gateway.lied]
            ready = [gateway for gateway in honest if now >= gateway.paused_until_s]
            return sorted(ready or honest, key=lambda gateway: gateway.failures)

    def _note(self, gateway: _Gateway, *, failed: bool, lied: bool = False) -> None:
        with self._lock:
            gateway.lied = gateway.lied or lied
            gateway.failures = gateway.failures + 1 if failed else 0
            if gateway.failures >= MAX_FAILURES:
                gateway.failures = 0
                gateway.paused_until_s = self._clock.monotonic() + PAUSE_S

    def _verdict(self, cid: Cid, problems: Sequence[FarlaneError]) -> FarlaneError:
        if not problems:
            return Corrupted(
                f"every gateway has sent wrong bytes before ({', '.join(self.liars)}): name another",
                cid=cid.text,
            )
        said = "; ".join(error.message for error in problems[:3])
        if all(isinstance(error, NotFound) for error in problems):
            return NotFound(f"no gateway has block {cid}: {said}", cid=cid.text)
        if all(isinstance(error, Corrupted | TooLarge) for error in problems):
            return Corrupted(f"no gateway sent the bytes of block {cid}: {said}; name another", cid=cid.text)
        return Unavailable(f"no gateway gives block {cid}: {said}", cid=cid.text)
