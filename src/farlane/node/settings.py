"""Settings of a node: what it offers, at which price, and where it keeps its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class NodeSettings:
    """What a node offers and how it behaves."""

    directory: Path = Path("node")
    """Where the node keeps its identity, its blob cache, environments and working directories."""
    name: str | None = None
    """Name people see; the host's name where none is given."""
    cpu: float | None = None
    """Cores offered, such as 3.5; all that this process may use where none is given. More than there are is refused."""
    memory: str | None = None
    """Memory offered, such as 12GB; nine tenths of what there is where none is given."""
    disk: str | None = None
    """Disk offered to tasks, such as 100GB; where none is given, nine tenths of what is free beside the blob cache."""
    gpus: Literal["all", "none"] = "all"
    """Whether the GPUs of this machine are offered."""
    core_hour: str = "0.02"
    """Price of one core for an hour, in credits. Rounded up to whole nano-credits a second, as are all rates."""
    gib_hour: str = "0.002"
    """Price of one GiB of memory for an hour, in credits."""
    gpu_hour: tuple[str, ...] = ("*=0.5",)
    """Prices of one GPU for an hour, in credits, by model: A100=1.8, with * for every other model."""
    gib_moved: str = "0"
    """Price of one GiB of payloads, input files and results moved, in credits."""
    labels: tuple[str, ...] = ()
    """Labels that jobs may ask for, as key=value."""
    serves: tuple[str, ...] = ()
    """Organisations besides the node's own whose work it runs. There is no sandbox yet: list only whom you trust with
    your machine."""
    backend: Literal["process"] = "process"
    """How tasks run: in warm worker processes."""
    cache: str = "10GB"
    """Budget of the blob cache on disk; what was used least recently goes first."""
    models: Path | None = None
    """Repository of models that this node serves from, as `farlane models` keeps it, on this machine or on a disk that
    it shares; where none is given, `models` in the network's directory, if there is one. What is not there is fetched
    from other nodes and the hub."""
    models_bytes: str = "50GB"
    """Budget of the models that the node fetches, on disk; those used least recently go first, and none that it
    serves."""
    blocks_listen: str | None = None
    """Where the node gives blocks of models to other nodes, as HOST:PORT; port 0 picks a free one. Where none is given
    it only takes. Blocks travel unencrypted, for tickets of the hub."""
    blocks_address: str | None = None
    """What other nodes call that by, as HOST:PORT, where it is not what `node.blocks_listen` says: behind a forwarded
    port, or where it listens on every address."""
    backlog: str = "256MB"
    """Results kept while the hub is away; beyond it the node starts no new work."""
    log_buffer: str = "4MB"
    """Output of tasks on its way to the hub; beyond it the oldest is dropped, with a notice in its place."""
    drain_timeout_s: float = 30.0
    """How long running tasks may go on after SIGTERM before they are handed back, in seconds."""
    metrics_port: int = 0
    """Port on 127.0.0.1 for Prometheus metrics; 0 turns them off."""
    credit: str = "10"
    """Credits of work, for each organisation, that the node does ahead of vouchers; then it takes no more until they
    come. "unlimited" for a network in which nobody is paid."""
    head_tasks: int = 1000
    """Leaves of a book after which the node signs its head, and the hub answers with a voucher."""
    head_s: float = 5.0
    """Seconds after which a head is signed, however few leaves there are."""
    provider: str | None = None
    """Address that is paid for the node's work; the node's own key, made in its directory, where none is given."""
    delegation: Path | None = None
    """File by which that provider lets the node's key sign: what `farlane key delegate` writes."""
    network_file: Path | None = None
    """Network file: heads are signed for the chain and contract in it and for no other."""
    rpc: tuple[str, ...] | None = None
    """JSON-RPC endpoints of the network's chain, which stand in for each other, the preferred one first. With them, and
    network_file, the node looks itself whether deposits cover its vouchers, and claims in time even if the hub is gone;
    its key then needs the chain's coin for gas."""
    claim_credits: str = "0"
    """Credits promised on a channel and not claimed from which the node claims them, where `node.rpc` is set; 0: only
    when the payer begins to close the channel, and before the node leaves."""
    max_fee_gwei: float = 500.0
    """Most gwei per gas that an ordinary claim may cost; above it, it waits. Where a payer closes its channel this
    rises to ten times as much within the six hours up to an hour before the close can be finished."""
    confirmations: int = 2
    """Blocks a claim must have on top of it before it counts; one that a reorganisation takes back is sent again."""
    direct_listen: str | None = None
    """Where the node also serves direct calls, as HOST:PORT: publishers find it on chain and call it without a hub. It
    needs direct_endpoint, and a chain: rpc and network_file, or the next two."""
    direct_network_file: Path | None = None
    """Network file of the network on which publishers find and pay the node, where that is not its hub's; network_file
    where none is given."""
    direct_rpc: tuple[str, ...] | None = None
    """With direct_network_file: JSON-RPC endpoints of that network's chain, as rpc."""
    direct_delegation: Path | None = None
    """With direct_network_file: file by which a provider lets the node's key sign there, as in delegation."""
    direct_endpoint: str | None = None
    """How publishers reach it, https://host:port, as the registry says."""
    direct_allow: tuple[str, ...] = ()
    """Addresses of the payers that may call. There is no sandbox yet: list only whom you trust with your machine."""
    direct_cpu: float = 1.0
    """Cores set aside for direct calls; they are taken out of what the hub is offered, as are the next three."""
    direct_memory: str = "1GiB"
    """Memory set aside for direct calls."""
    direct_disk: str = "1GiB"
    """Disk set aside for direct calls."""
    direct_gpus: int = 0
    """GPUs set aside for direct calls: the last ones of this machine."""
    direct_tasks: int = 4
    """How many tasks of one channel may run or be unpaid at once."""
    direct_credit: str = "1"
    """Credits that one payer may owe over all its channels, what runs for it included."""
    direct_claim_s: float = 600.0
    """Seconds between two rounds in which vouchers of direct calls are claimed."""
