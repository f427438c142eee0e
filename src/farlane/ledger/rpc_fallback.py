"""Several endpoints of one chain as one transport: the next one answers where one is away, if it is the same chain."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from farlane.errors import ChainUnavailable, InvalidSetting
from farlane.kit.clock import Clock, SystemClock
from farlane.ledger.rpc import Transport

log = logging.getLogger(__name__)

RETRY_S = 60.0
"""How long an endpoint that failed is asked last."""


class FallbackTransport:
    """Asks the first endpoint that works, in the order given.

    Each is asked for its chain id before it is believed, and again whenever it has failed. One that is another
    chain's is passed over, like one that is away.

    Args:
        endpoints: transports, the preferred one first.
        chain_id: what all of them must be.
        clock: the machine's, unless a test moves time.

    Raises:
        InvalidSetting: there is none.
    """

    def __init__(self, endpoints: Sequence[Transport], chain_id: int, clock: Clock | None = None) -> None:
        if not endpoints:
            raise InvalidSetting("a chain needs an endpoint; expected at least one URL")
        self._endpoints, self._chain_id = tuple(endpoints), chain_id
        self._clock = clock or SystemClock()
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
        for number in self._order():
            try:
                await self._check(number)
                answer = await self._endpoints[number].post(document)
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
        if found != hex(self._chain_id):
            raise ChainUnavailable(
                f"{endpoint.place} says that it is chain {found}, expected {hex(self._chain_id)}: it is not used"
            )
        self._checked.add(number)

    def _note_failure(self, number: int, error: ChainUnavailable) -> None:
        if number not in self._failed_at:
            log.warning("an endpoint is passed over: %s", error.message)
        self._failed_at[number] = self._clock.monotonic()
        self._checked.discard(number)
