"""Settlements of one channel, newest first, as far back as somebody must look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from farlane.errors import RpcRefused
from farlane.ledger import abi
from farlane.ledger.accounts import Address
from farlane.ledger.events import event_of
from farlane.ledger.port import VoucherSettled
from farlane.ledger.rpc import RpcClient, hexed


async def settlements_backwards(
    rpc: RpcClient, contract: Address, channel: bytes
) -> AsyncIterator[VoucherSettled]:
    """Yield a channel's settlements, the newest first; a range that the endpoint finds too large is halved.

    All blocks are asked for at once first: logs of one channel are few, and most endpoints find them by index.

    Raises:
        ChainUnavailable: the endpoint does not answer.
        RpcRefused: it does not even give the logs of one block.
    """
    last = await rpc.quantity("eth_blockNumber")
    step = last + 1
    while last >= 0:
        first = max(0, last - step + 1)
        try:
            logs = await _logs(rpc, contract, channel, first, last)
        except RpcRefused:
            if step == 1:
                raise
            step = max(1, step // 2)
            continue
        for event in reversed([event_of(log) for log in logs]):
            if isinstance(event, VoucherSettled) and event.channel_id == channel:
                yield event
        last = first - 1


async def _logs(
    rpc: RpcClient, contract: Address, channel: bytes, first: int, last: int
) -> list[dict[str, Any]]:
    span = {"address": contract, "fromBlock": hex(first), "toBlock": hex(last)}
    wanted = [hexed(abi.topic("ComputeLedger", "VoucherSettled")), hexed(channel)]
    logs: list[dict[str, Any]] = await rpc.call("eth_getLogs", {**span, "topics": wanted})
    return logs
