"""Several endpoints as one: the order, who is passed over and for how long, and who is not believed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from farlane.errors import ChainUnavailable, InvalidSetting
from farlane.kit.clock import ManualClock
from farlane.ledger.rpc import RpcClient
from farlane.ledger.rpc_endpoints import transport_of
from farlane.ledger.rpc_fallback import RETRY_S, FallbackTransport


class Endpoint:
    """One of a chain's endpoints; its block number tells who answered."""

    def __init__(self, block: int, chain_id: int = 7) -> None:
        self.place, self.block, self.chain_id = f"host{block}", block, chain_id
        self.away, self.closed, self.methods = False, False, list[str]()

    async def post(self, document: Any) -> Any:
        if self.away:
            raise ChainUnavailable(f"{self.place} is away")
        self.methods.append(document["method"])
        number = self.chain_id if document["method"] == "eth_chainId" else self.block
        return {"jsonrpc": "2.0", "id": document["id"], "result": hex(number)}

    async def close(self) -> None:
        self.closed = True


async def test_the_next_endpoint_answers_until_the_first_is_back() -> None:
    first, second, clock = Endpoint(1), Endpoint(2), ManualClock()
    async with RpcClient(FallbackTransport([first, second], 7, clock)) as rpc:
        assert await rpc.quantity("eth_blockNumber") == 1
        first.away = True
        assert await rpc.quantity("eth_blockNumber") == 2
        assert rpc.place == "host2"
        first.away = False
        assert await rpc.quantity("eth_blockNumber") == 2
        clock.advance(RETRY_S + 1)
        assert await rpc.quantity("eth_blockNumber") == 1
    # Asked for its chain again once it was back.
    assert first.methods == ["eth_chainId", "eth_blockNumber", "eth_chainId", "eth_blockNumber"]
    assert first.closed
    assert second.closed


async def test_another_chain_is_never_asked_anything_else() -> None:
    liar, honest = Endpoint(1, chain_id=8), Endpoint(2)
    rpc = RpcClient(FallbackTransport([liar, honest], 7, ManualClock()))
    assert await rpc.quantity("eth_blockNumber") == 2
    honest.away = True
    with pytest.raises(ChainUnavailable, match=r"host2 is away; host1 says that it is chain 8"):
        await rpc.quantity("eth_blockNumber")
    assert set(liar.methods) == {"eth_chainId"}


def test_there_must_be_one() -> None:
    with pytest.raises(InvalidSetting, match="at least one"):
        FallbackTransport([], 7)


async def test_without_a_known_chain_the_first_that_answers_says_which_it_is() -> None:
    first, second, clock = Endpoint(1, chain_id=7), Endpoint(2, chain_id=8), ManualClock()
    rpc = RpcClient(FallbackTransport([first, second], clock=clock))
    assert await rpc.quantity("eth_blockNumber") == 1
    first.away = True
    with pytest.raises(ChainUnavailable, match="host2 says that it is chain 8, expected 7"):
        await rpc.quantity("eth_blockNumber")


async def test_an_endpoint_that_never_answers_is_passed_over() -> None:
    silent, second = Endpoint(1), Endpoint(2)
    silent.post = lambda document: asyncio.Event().wait()  # type: ignore[method-assign,assignment,return-value]
    rpc = RpcClient(FallbackTransport([silent, second], 7, ManualClock(), patience_s=0.01))
    assert await rpc.quantity("eth_blockNumber") == 2


async def test_what_is_no_chain_id_is_told() -> None:
    odd = Endpoint(1)
    odd.chain_id = -1
    rpc = RpcClient(FallbackTransport([odd], None, ManualClock()))
    odd.post = _nonsense  # type: ignore[method-assign]
    with pytest.raises(ChainUnavailable, match=r"says that it is chain \[\], expected a number"):
        await rpc.quantity("eth_blockNumber")


async def _nonsense(document: Any) -> Any:
    return {"jsonrpc": "2.0", "id": document["id"], "result": []}


@pytest.mark.parametrize("urls", ["http://a:1, http://b:2", ["http://a:1", "http://b:2"]])
async def test_several_urls_stand_in_for_each_other(urls: str | list[str]) -> None:
    assert isinstance(transport_of(urls, 7), FallbackTransport)
    assert RpcClient(urls).place == "a:1"
    assert transport_of("http://a:1").place == "a:1"


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ("", "at least one URL"),
        (["", " , "], "at least one URL"),
        ("http://a, http://a", "named twice"),
        ("http://a, ftp://b", "not a URL"),
    ],
)
def test_what_names_no_endpoints_is_refused(urls: str | list[str], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        transport_of(urls)
