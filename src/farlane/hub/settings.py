"""Settings of a hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HubSettings:
    """How a hub listens, waits and schedules."""

    directory: Path = Path("hub")
    """Where the store, the blobs, the logs and the TLS key are kept."""
    host: str = "127.0.0.1"
    """Address to listen on. Every call is authenticated and encrypted whatever the address."""
    port: int = 7717
    """TCP port for gRPC; 0 picks a free one."""
    metrics_port: int = 0
    """Loopback port for Prometheus metrics; 0 turns them off."""
    policy: str = "fifo"
    """Placement policy: fifo, shortest-first, best-fit, spread or learned, or one that decides in a process of its own,
    as package.module:NAME."""
    policy_fallback: str = "shortest-first"
    """The rule that decides wherever a policy that is not one itself does not: too late, unsound, or unsure."""
    policy_shadow: tuple[str, ...] = ()
    """Rules that are asked what they would have done, beside what is done."""
    decision_budget_s: float = 0.25
    """How long the policy's process may take for one decision, in seconds, before the rule decides."""
    decision_inline_pairs: int = 16
    """Views of at most so many groups x nodes are decided in the hub itself once the policy's process has proven sound;
    with 0 none is. A policy of your own is never run in the hub."""
    decision_memory_bytes: int = 2 << 30
    """Address space of the policy's process, in bytes."""
    decision_log_bytes: int = 64 << 20
    """Log of decisions that is kept where there is a policy or a shadow rule, in bytes; the oldest goes first; 0 keeps
    none."""
    preempt: bool = False
    """Whether tasks that run make room for one that has waited for 10 s and whose priority is higher by at least 20;
    each at most twice, without using up a retry, and what ran of it is paid. Replicas of models never do."""
    lease_s: float = 10.0
    """A node silent for this many seconds loses its leases to others."""
    interim_s: float = 3600.0
    """Run time after which what a task costs so far is booked, and again each time as much has passed, in seconds; 0
    books every task at its end alone. What was booked stays owed, however the task ends."""
    heartbeat_s: float = 2.0
    """How often nodes report; must be well below lease_s."""
    blob_bytes: int = 20 << 30
    """Budget for payloads, functions and results kept out of band, in bytes; beyond it uploads are refused as on a
    full disk."""
    models: Path | None = None
    """Repository whose models the hub deploys, as `farlane models` keeps it; where none is given, `models` in the
    network's directory."""
    models_bytes: int = 0
    """Budget for the models that are published to this hub, in bytes; beyond it pushes are refused as on a full disk; 0
    is without limit."""
    payload_cache_bytes: int = 256 << 20
    """Queued payloads kept in memory, in bytes; beyond it they are read back from the store."""
    log_bytes_per_job: int = 64 << 20
    """Logs kept for one job, in bytes; the rest is cut off with a notice."""
    rpc: tuple[str, ...] = ()
    """JSON-RPC endpoints of the chain the network settles on, which stand in for each other, the preferred one first;
    empty: a chain of the hub's own, embedded in it. A key in a URL is a secret: write it into the configuration
    file."""
    network_file: Path | None = None
    """Where the contracts are on the chain of `hub.rpc`, as `farlane network deploy` wrote it."""
    confirmations: int = 2
    """Blocks a transaction must have on top of it on the chain of `hub.rpc` before it counts."""
    max_fee_gwei: float = 500.0
    """The most that a unit of gas may cost, in gwei; while it costs more, settlement waits. Claims of channels that are
    being closed may cost up to ten times as much as their deadline nears."""
    chain_port: int = 0
    """Loopback port for the JSON-RPC of the embedded chain, for wallets and `cast`; 0 picks a free one, -1 is none."""
    settle_s: float = 60.0
    """How often channels are funded and vouchers settled on the chain, in seconds."""
    channel_deposit: str = "1"
    """Credits locked in each channel beyond what is owed: what a stolen session key can cost."""
    least_settlement: str = "0"
    """A voucher with fewer new credits than this waits, so that it is worth its gas; where gas costs nothing, on an
    embedded chain, `farlane ledger settle` takes all."""
    starting_credits: str = "1000"
    """Credits that every organisation of an embedded chain begins with."""
    payers: tuple[str, ...] = ()
    """Organisations that pay from an account of their own whose key this hub never sees, as organisation=0xADDRESS."""
    alert_url: str = ""
    """Where alerts of budgets are POSTed as JSON; empty: nowhere. A key in the URL is a secret: write it into the
    configuration file."""
    keep_results_s: float = 7 * 86400.0
    """How long results of ended jobs are kept, in seconds."""
    gateway_host: str = "127.0.0.1"
    """Address on which clients of served models are answered. Every call is authenticated; beyond loopback TLS with the
    hub's certificate is used."""
    gateway_port: int = 0
    """TCP port of the gateway's HTTP: OpenAI's API and the Open Inference Protocol; 0 picks a free one, -1 is none."""
    gateway_grpc_port: int = 0
    """TCP port of the gateway's gRPC: the Open Inference Protocol; 0 picks a free one, -1 is none."""
    gateway_requests_per_minute: int = 0
    """Requests of one organisation to served models in a minute; 0 is without limit."""
    gateway_tokens_per_minute: int = 0
    """Tokens of one organisation in a minute, prompts and completions together; 0 is without limit."""
    gateway_model_requests_per_minute: int = 0
    """Requests to one model in a minute, whoever asks; 0 is without limit."""
    gateway_model_tokens_per_minute: int = 0
    """Tokens of one model in a minute, whoever asks; 0 is without limit."""
    gateway_concurrent: int = 512
    """Requests to served models that run at the same time."""
    gateway_concurrent_each: int = 256
    """Requests of one organisation that run at the same time."""
    gateway_timeout_s: float = 600.0
    """How long one request to a served model may take, in seconds."""
    gateway_body_bytes: int = 64 << 20
    """Largest body of a request, packed and unpacked, in bytes."""
    gateway_buffer_bytes: int = 512 << 20
    """Bodies of all requests that the gateway holds at the same time, in bytes."""
    gateway_read_timeout_s: float = 60.0
    """How long a request's body may take to arrive, in seconds."""
    gateway_connections: int = 1000
    """HTTP connections to the gateway at the same time; more are told to come back."""
    gateway_idle_timeout_s: float = 75.0
    """How long a connection may take to send the headers of its next request, silence included, in seconds."""
    gateway_write_timeout_s: float = 30.0
    """How long a client may leave a piece of a stream unread before it is cut off, in seconds."""
