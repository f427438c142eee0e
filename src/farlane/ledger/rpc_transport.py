"""The port of JSON-RPC: how one document travels to a chain and its answer back."""

from __future__ import annotations

from typing import Any, Protocol


class Transport(Protocol):
    """Carries one JSON-RPC document, a request or a batch, to a chain and its answer back."""

    @property
    def place(self) -> str:
        """How messages call the chain; no credentials in it."""
        ...

    async def post(self, document: Any) -> Any:
        """Return the parsed answer.

        Raises:
            ChainUnavailable: there is none.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
