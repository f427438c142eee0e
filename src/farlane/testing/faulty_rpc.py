"""A transport that breaks between a client and a real chain: down, dead at the n-th step, or of another chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from farlane.errors import ChainUnavailable
from farlane.ledger.rpc import Transport


class Crashed(BaseException):
    """The process is gone: nothing that catches errors may catch it."""


class CrashPoint:
    """Counts steps, and crashes at one of them.

    Args:
        at: number of the step, from 1; 0: never.
    """

    def __init__(self, at: int = 0) -> None:
        self._at, self.passed = at, 0

    def step(self) -> None:
        """Pass one step.

        Raises:
            Crashed: it was the one.
        """
        self.passed += 1
        if self.passed == self._at:
            raise Crashed(f"at step {self._at}")


class FaultyTransport:
    """Carries documents to a real chain, unless told otherwise.

    Args:
        inner: reaches the chain.
        point: passed once before and once after every document.
    """

    def __init__(self, inner: Transport, point: CrashPoint | None = None) -> None:
        self._inner, self._point = inner, point or CrashPoint()
        self.down = False
        """Answer nothing."""
        self.chain_id = 0
        """What to claim for a chain id; 0: the truth."""
        self.hidden: frozenset[str] = frozenset()
        """Methods answered with null, as by an endpoint that lags behind."""
        self.refuse: Callable[[str], dict[str, Any] | None] = lambda _: None
        """Returns the JSON-RPC error a method is answered with, None to pass it on."""
        self.posts = 0
        self.sent: list[str] = []
        """Raw transactions that went through, as hex."""

    @property
    def place(self) -> str:
        """Where the chain is."""
        return self._inner.place

    async def post(self, document: Any) -> Any:
        """Return the chain's answer, or what stands in its place."""
        self.posts += 1
        self._point.step()
        if self.down:
            raise ChainUnavailable(f"{self.place} cannot be reached")
        if isinstance(document, dict) and (error := self.refuse(document["method"])) is not None:
            return {"jsonrpc": "2.0", "id": document["id"], "error": error}
        answer = await self._inner.post(document)
        self._point.step()
        self._note(document)
        return self._disguised(document, answer)

    async def close(self) -> None:
        """Close the inner one."""
        await self._inner.close()

    def _note(self, document: Any) -> None:
        requests = document if isinstance(document, list) else [document]
        self.sent += [each["params"][0] for each in requests if each["method"] == "eth_sendRawTransaction"]

    def _disguised(self, document: Any, answer: Any) -> Any:
        requests = document if isinstance(document, list) else [document]
        methods = {each["id"]: each["method"] for each in requests}
        for each in answer if isinstance(answer, list) else [answer]:
            method = methods.get(each.get("id"))
            if method in self.hidden:
                each["result"] = None
            elif method == "eth_chainId" and self.chain_id:
                each["result"] = hex(self.chain_id)
        return answer
