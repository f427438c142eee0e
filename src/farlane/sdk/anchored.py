"""Receipts in the trees that the chain has settled, where the hub proved them in others that were signed in between."""

from __future__ import annotations

from farlane.domain.ids import TaskId
from farlane.ledger.receipt import Receipt
from farlane.ledger.rpc import RpcClient
from farlane.ledger.settled_events import settlements_backwards
from farlane.sdk.record import RecordClient


async def anchored(
    record: RecordClient, rpc: RpcClient, task: TaskId, receipts: list[Receipt]
) -> list[Receipt]:
    """Return receipts of a task, each over the smallest settled tree with its leaf; as it is where none is settled.

    Both sides sign more often than the hub settles, and the smallest signed tree with a leaf is rarely one whose root
    stands on the chain. The hub proves a leaf in any tree that both signed.

    Raises:
        ChainUnavailable: the endpoint does not answer.
    """
    found = []
    for receipt in receipts:
        size = await _settled_size(rpc, receipt)
        if size is None or size == receipt.head.head.size:
            found.append(receipt)
            continue
        others, _ = await record.receipts(task, size)
        found.append(next((one for one in others if _same_leaf(one, receipt, size)), receipt))
    return found


async def _settled_size(rpc: RpcClient, receipt: Receipt) -> int | None:
    """Return the size of the smallest settled tree with the receipt's leaf, None where there is none."""
    size = None
    async for event in settlements_backwards(rpc, receipt.domain.contract, receipt.channel.id):
        if event.tasks <= receipt.index:
            break
        size = event.tasks
    return size


def _same_leaf(one: Receipt, receipt: Receipt, size: int) -> bool:
    return (one.channel.id, one.index, one.head.head.size) == (receipt.channel.id, receipt.index, size)
