"""JSON-RPC of an Ethereum chain: calls over any transport, with the chain's refusals as errors of the tree."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Self

from farlane.errors import ChainUnavailable, FarlaneError
from farlane.ledger import abi
from farlane.ledger.rpc_endpoints import Urls, transport_of
from farlane.ledger.rpc_errors import RefusalReason, refusal
from farlane.ledger.rpc_http import HttpTransport
from farlane.ledger.rpc_transport import Transport

__all__ = ["HttpTransport", "RefusalReason", "RpcClient", "Transport", "hexed", "unhexed"]

CALL_TIMEOUT_S = 20.0
MAX_BATCH = 100
"""Calls sent in one document; public endpoints refuse more."""

Request = dict[str, Any]


class RpcClient:
    """Calls a chain. Parameters and results are as JSON has them, unless the method says otherwise.

    Args:
        transport: how documents travel; URLs stand for what `transport_of` makes of them.
        timeout_s: how long a call or a batch may take, unless it says otherwise.
        chain_id: with several URLs, of what chain all of them must be.
    """

    def __init__(
        self, transport: Transport | Urls, *, timeout_s: float = CALL_TIMEOUT_S, chain_id: int | None = None
    ) -> None:
        self._transport: Transport = (
            transport_of(transport, chain_id) if isinstance(transport, str | Sequence) else transport
        )
        self._timeout_s = timeout_s
        self._numbers = itertools.count(1)

    @property
    def place(self) -> str:
        """How messages call the chain: neither user, password, path nor query of its URL."""
        return self._transport.place

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def call(self, method: str, *parameters: Any, timeout_s: float | None = None) -> Any:
        """Return the result of one call, as JSON has it.

        Raises:
            ChainUnavailable: no answer in time, or one that makes no sense (HTTP 5xx, no JSON, a foreign id).
            Reverted: the EVM reverted; fact `error` names the contract's error.
            InsufficientFunds: the sender cannot pay for gas and value.
            RpcRefused: anything else the endpoint refuses.
        """
        request = self._request(method, parameters)
        outcome = self._outcome(await self._post(request, timeout_s), request)
        if isinstance(outcome, FarlaneError):
            raise outcome
        return outcome

    async def batch(
        self,
        calls: Sequence[tuple[str, Sequence[Any]]],
        *,
        timeout_s: float | None = None,
        return_errors: bool = False,
    ) -> list[Any]:
        """Return the results of many calls in their order, with one round trip per `MAX_BATCH` of them.

        Args:
            calls: methods and their parameters.
            timeout_s: for each round trip.
            return_errors: put a refused call's error in its place instead of raising the first.

        Raises:
            FarlaneError: as `call`.
        """
        outcomes: list[Any] = []
        for start in range(0, len(calls), MAX_BATCH):
            requests = [self._request(method, given) for method, given in calls[start : start + MAX_BATCH]]
            outcomes += self._outcomes(await self._post(requests, timeout_s), requests)
        failed = next((outcome for outcome in outcomes if isinstance(outcome, FarlaneError)), None)
        if failed is not None and not return_errors:
            raise failed
        return outcomes

    async def quantity(self, method: str, *parameters: Any, timeout_s: float | None = None) -> int:
        """Return a result that is a number.

        Raises:
            FarlaneError: as `call`.
        """
        return self._number(method, await self.call(method, *parameters, timeout_s=timeout_s))

    async def read(
        self, contract: str, address: str, name: str, arguments: Sequence[Any] = (), block: str = "latest"
    ) -> Any:
        """Call a view function of one of our contracts.

        Raises:
            InvalidInput: the answer is none of that function; is it the right address?
            FarlaneError: as `call`.
        """
        data = abi.encode_call(contract, name, arguments)
        raw = await self.call("eth_call", {"to": address, "data": hexed(data)}, block)
        try:
            return abi.decode_result(contract, name, unhexed(raw))
        except (TypeError, ValueError) as error:
            raise self._nonsense("eth_call is not answered with bytes") from error

    async def wait_for(
        self, method: str, *parameters: Any, timeout_s: float = 30.0, poll_s: float = 0.05
    ) -> Any:
        """Ask until there is a result that is not null.

        Raises:
            ChainUnavailable: not in time.
            FarlaneError: as `call`.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout_s
        while (found := await self.call(method, *parameters)) is None:
            if loop.time() >= give_up:
                raise ChainUnavailable(f"{self.place} has no result of {method} after {timeout_s:g} s")
            await asyncio.sleep(poll_s)
        return found

    def _request(self, method: str, parameters: Sequence[Any]) -> Request:
        return {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": list(parameters)}

    async def _post(self, document: Any, timeout_s: float | None) -> Any:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._transport.post(document)
        except TimeoutError as error:
            raise ChainUnavailable(
                f"the chain's endpoint at {self.place} does not answer within {limit_s:g} s"
            ) from error

    def _outcomes(self, answer: Any, requests: list[Request]) -> list[Any]:
        if isinstance(answer, Mapping) and answer.get("error") is not None:  # of the batch as a whole
            raise refusal("a batch", answer["error"], self.place)
        if not isinstance(answer, list):
            raise self._nonsense("a batch is not answered with a list")
        by_id = {each.get("id"): each for each in answer if isinstance(each, Mapping)}
        return [self._outcome(by_id.get(request["id"]), request) for request in requests]

    def _outcome(self, answer: Any, request: Request) -> Any:
        """Return the result, or as an error what the endpoint answered instead."""
        method = request["method"]
        if not isinstance(answer, Mapping):
            raise self._nonsense(f"{method} has no answer of its own")
        error = answer.get("error")
        # An endpoint that could not read the request answers with the id null.
        if answer.get("id") != request["id"] and (error is None or answer.get("id") is not None):
            raise self._nonsense(f"{method} is answered with the id of another call")
        if error is not None:
            return refusal(method, error, self.place)
        if "result" not in answer:
            raise self._nonsense(f"{method} is answered with neither a result nor an error")
        return answer["result"]

    def _number(self, method: str, result: Any) -> int:
        try:
            return int(result, 16)
        except (TypeError, ValueError) as error:
            raise self._nonsense(f"{method} is not answered with a number") from error

    def _nonsense(self, what: str) -> ChainUnavailable:
        return ChainUnavailable(f"{self.place} makes no sense: {what}; is it a chain's endpoint?")


def hexed(value: bytes | int) -> str:
    """Return bytes or a number as JSON-RPC writes it."""
    return hex(value) if isinstance(value, int) else "0x" + value.hex()


def unhexed(text: str) -> bytes:
    """Return the bytes of a 0x text."""
    return bytes.fromhex(text[2:])
