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
    """Placement policy: fifo, shortest-first, best-fit or spread."""
    lease_s: float = 10.0
    """A node silent for this many seconds loses its leases to others."""
    heartbeat_s: float = 2.0
    """How often nodes report; must be well below lease_s."""
    blob_bytes: int = 20 << 30
    """Budget for payloads, functions and results kept out of band, in bytes; beyond it uploads are refused as on a
    full disk."""
    payload_cache_bytes: int = 256 << 20
    """Queued payloads kept in memory, in bytes; beyond it they are read back from the store."""
    log_bytes_per_job: int = 64 << 20
    """Logs kept for one job, in bytes; the rest is cut off with a notice."""
    keep_results_s: float = 7 * 86400.0
    """How long results of ended jobs are kept, in seconds."""
