"""A client of Ethereum JSON-RPC: deadlines, caps, batches, and every fault as one of our own errors."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from farlane.errors import ChainUnavailable, FarlaneError
from farlane.ledger.abi import Abi
from farlane.ledger.rpc_errors import error_from_answer
from farlane.ledger.rpc_http import HttpTransport

DEFAULT_TIMEOUT_S = 20.0
MAX_BATCH = 100
"""Calls sent in one batch; public endpoints refuse more."""

Call = tuple[str, Sequence[object]]
"""A method and its parameters."""


class Transport(Protocol):
    """What carries a JSON-RPC document to a chain and its answer back."""

    name: str
    """How the chain is called in messages: no credentials in it."""

    async def send(self, document: object) -> object:
        """Return the answer to a request or to a batch, both as decoded JSON.

        Raises:
            ChainUnavailable: there is none, or it is not JSON.
        """
        ...

    async def aclose(self) -> None:
        """Give its connections back."""
        ...


class RpcClient:
    """A chain, asked by JSON-RPC.

    Args:
        endpoint: an http(s) URL, or a transport that reaches a chain in another way.
        timeout_s: how long one call or batch may take, unless the call says otherwise.
    """

    def __init__(self, endpoint: str | Transport, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._transport = HttpTransport(endpoint) if isinstance(endpoint, str) else endpoint
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._errors: list[Mapping[str, Any]] = []

    @property
    def name(self) -> str:
        """The endpoint as messages may name it: neither user, password, path nor query of its URL."""
        return self._transport.name

    def add_errors(self, abi: Abi) -> None:
        """Learn the custom errors of a contract, so that `Reverted` names them."""
        self._errors += [entry for entry in abi if entry["type"] == "error" and entry not in self._errors]

    async def call(
        self, method: str, params: Sequence[object] = (), *, timeout_s: float | None = None
    ) -> Any:
        """Return the `result` of one call.

        Raises:
            ChainUnavailable: no answer in time, or none that is one (connection, HTTP 5xx, bad JSON, foreign id).
            Reverted: a contract refused; facts `error` (name), `args`, `data`.
            InsufficientFunds: the sender cannot pay.
            Conflict: the chain refused the transaction; fact `reason` is a RefusalReason.
            InvalidInput: the chain does not know the method or cannot read the parameters.
        """
        request = self._request(method, params)
        answer = await self._send(request, timeout_s)
        outcome = self._outcome(answer, request)
        if isinstance(outcome, FarlaneError):
            raise outcome
        return outcome

    async def batch(
        self, calls: Sequence[Call], *, timeout_s: float | None = None, return_errors: bool = False
    ) -> list[Any]:
        """Return the results of many calls, in their order, with few round trips.

        Args:
            calls: what to ask.
            timeout_s: for each round trip of at most `MAX_BATCH` calls.
            return_errors: put a call's error in its place instead of raising the first one.

        Raises:
            ChainUnavailable: as `call`; a round trip that failed fails the batch.
            FarlaneError: the first call's error, unless `return_errors`.
        """
        outcomes: list[Any] = []
        for start in range(0, len(calls), MAX_BATCH):
            requests = [self._request(method, params) for method, params in calls[start : start + MAX_BATCH]]
            outcomes += self._outcomes(await self._send(requests, timeout_s), requests)
        failed = next((outcome for outcome in outcomes if isinstance(outcome, FarlaneError)), None)
        if failed is not None and not return_errors:
            raise failed
        return outcomes

    async def aclose(self) -> None:
        """Close the connections; the client can still be used and opens new ones."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _request(self, method: str, params: Sequence[object]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    async def _send(self, document: object, timeout_s: float | None) -> object:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._transport.send(document)
        except TimeoutError as error:
            raise ChainUnavailable(
                f"the chain at {self.name} did not answer within {limit_s:g} s; is it up, and reachable from here?",
                endpoint=self.name,
            ) from error

    def _outcomes(self, answer: object, requests: list[dict[str, Any]]) -> list[Any]:
        if isinstance(answer, Mapping) and "error" in answer:  # the batch was refused as a whole
            raise error_from_answer(answer["error"], "a batch", self.name, self._errors)
        if not isinstance(answer, list):
            raise self._nonsense("a batch was not answered with an array")
        by_id = {each.get("id"): each for each in answer if isinstance(each, Mapping)}
        return [self._outcome(by_id.get(request["id"]), request) for request in requests]

    def _outcome(self, answer: object, request: Mapping[str, Any]) -> Any:
        """Return the result, or the error that the chain answered with."""
        method = request["method"]
        if not isinstance(answer, Mapping):
            raise self._nonsense(f"{method} has no answer of its own")
        error = answer.get("error")
        # A server that could not read the request answers with a null id.
        if answer.get("id") != request["id"] and not (error is not None and answer.get("id") is None):
            raise self._nonsense(f"{method} was answered with the id of another call")
        if error is not None:
            return error_from_answer(error, method, self.name, self._errors)
        if "result" not in answer:
            raise self._nonsense(f"{method} was answered with neither a result nor an error")
        return answer["result"]

    def _nonsense(self, what: str) -> ChainUnavailable:
        return ChainUnavailable(
            f"the chain at {self.name} answers with nonsense: {what}; is this the URL of a JSON-RPC endpoint?",
            endpoint=self.name,
        )
