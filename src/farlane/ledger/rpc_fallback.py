"""Several endpoints of one chain as one transport: the next one answers where one is away, if it is the same chain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from farlane.errors import ChainUnavailable, InvalidSetting
from farlane.kit.clock import Clock, SystemClock
from farlane.ledger.rpc_transport import Transport

log = logging.getLogger(__name__)

RETRY_S = 60.0
"""How long an endpoint that failed is asked last."""
PATIENCE_S = 8.0
"""How long one endpoint may take while there is another to ask; below half of what a call has in all."""


class FallbackTransport:
    """Asks the first endpoint that works, in the order given.

    Each is asked for its chain id before it is believed, and again whenever it has failed. One that is another
    chain's is passed over, like one that is away or takes too long.

    Args:
        endpoints: transports, the preferred one first.
        chain_id: what all of them must be; None: what the first that answers is.
        clock: the machine's, unless a test moves time.
        patience_s: how long one may take while there is another to ask.

    Raises:
        InvalidSetting: there is none.
    """

    def __init__(
        self, endpoints: Sequence[Transport], chain_id: int | None = None, clock: Clock | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:  # fmt: skip
        if not endpoints:
            raise InvalidSetting("a chain needs an endpoint; expected at least one URL")
        self._endpoints, self._chain_id = tuple(endpoints), chain_id
        self._clock, self._patience_s = clock or SystemClock(), patience_s
        self._checked: set[int] = set()
        self._failed_at: dict[int, float] = {}
        self._last = 0

    @property
    def place(self) -> str:
        """The endpoint that answered last."""
        return self._endpoints[self._last].place

    async def post(self, document: Any) -> Any:
        """Return the answer of the first endpoint that gives one.

        Raises:
            ChainUnavailable: none does; the message tells what each said.
        """
        troubles = []
        order = self._order()
        for number in order:
            try:
                answer = await self._asked(number, document, last=number == order[-1])
            except ChainUnavailable as error:
                self._note_failure(number, error)
                troubles.append(error.message)
                continue
            self._failed_at.pop(number, None)
            self._last = number
            return answer
        raise ChainUnavailable("; ".join(troubles))

    async def close(self) -> None:
        """Close all of them."""
        for endpoint in self._endpoints:
            await endpoint.close()

    async def _asked(self, number: int, document: Any, *, last: bool) -> Any:
        """Ask one endpoint; the last one has all the time that the call has left."""
        try:
            async with asyncio.timeout(None if last else self._patience_s):
                await self._check(number)
                return await self._endpoints[number].post(document)
        except TimeoutError as error:
            place = self._endpoints[number].place
            raise ChainUnavailable(f"{place} does not answer within {self._patience_s:g} s") from error

    def _order(self) -> list[int]:
        now = self._clock.monotonic()
        recent = {number for number, at in self._failed_at.items() if now - at < RETRY_S}
        return sorted(range(len(self._endpoints)), key=lambda number: (number in recent, number))

    async def _check(self, number: int) -> None:
        if number in self._checked:
            return
        endpoint = self._endpoints[number]
        request = {"jsonrpc": "2.0", "id": 0, "method": "eth_chainId", "params": []}
        answer = await endpoint.post(request)
        found = answer.get("result") if isinstance(answer, dict) else None
        if self._chain_id is None:
            self._chain_id = _number(found)
        if self._chain_id is None or _number(found) != self._chain_id:
            wanted = "a number" if self._chain_id is None else str(self._chain_id)
            raise ChainUnavailable(
                f"{endpoint.place} says that it is chain {_number(found) or found!r}, expected {wanted}: it is not used"
            )
        self._checked.add(number)

    def _note_failure(self, number: int, error: ChainUnavailable) -> None:
        if number not in self._failed_at:
            log.warning("an endpoint is passed over: %s", error.message)
        self._failed_at[number] = self._clock.monotonic()
        self._checked.discard(number)


def _number(found: Any) -> int | None:
    try:
        return int(found, 16)
    except (TypeError, ValueError):
        return None
