"""Events: logs of the contract as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from farlane.ledger import abi, port
from farlane.ledger.rpc import unhexed
from farlane.ledger.vouchers import Channel

Fields = Mapping[str, Any]
Place = tuple[int, bytes, int]

_READERS: dict[str, Callable[[Place, Fields], port.LedgerEvent]] = {
    "Deposited": lambda at, f: port.Deposited(*at, f["account"], f["from"], f["amount"]),
    "Withdrawn": lambda at, f: port.Withdrawn(*at, f["account"], f["to"], f["amount"]),
    "ChannelOpened": lambda at, f: port.ChannelOpened(
        *at, Channel(f["payer"], f["provider"], f["signer"], f["salt"]), f["amount"]
    ),
    "ChannelToppedUp": lambda at, f: port.ChannelToppedUp(*at, f["channel"], f["amount"]),
    "VoucherSettled": lambda at, f: port.VoucherSettled(
        *at, f["channel"], f["cumulative"], f["paid"], f["tasks"], f["root"]
    ),
    "CloseStarted": lambda at, f: port.CloseStarted(*at, f["channel"], f["closeAt"]),
    "ChannelClosed": lambda at, f: port.ChannelClosed(*at, f["channel"], f["refunded"]),
    "JobOpened": lambda at, f: port.JobOpened(
        *at, f["job"], f["payer"], f["provider"], f["terms"]["price"], f["terms"]["providerBond"],
        f["terms"]["disputeBond"],
    ),
    "JobDisputed": lambda at, f: port.JobDisputed(*at, f["job"]),
    "JobEnded": lambda at, f: port.JobEnded(*at, f["job"], f["state"], f["toPayer"], f["toProvider"]),
}  # fmt: skip


def event_of(log: Mapping[str, Any]) -> port.LedgerEvent | None:
    """Return the event of a log as JSON-RPC has it, None for one that moves no money."""
    known = abi.decode_log("ComputeLedger", [unhexed(topic) for topic in log["topics"]], unhexed(log["data"]))
    if known is None or known[0] not in _READERS:
        return None
    place = (int(log["blockNumber"], 16), unhexed(log["transactionHash"]), int(log["logIndex"], 16))
    return _READERS[known[0]](place, known[1])
