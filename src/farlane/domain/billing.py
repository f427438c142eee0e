"""Billing: what a lease reserves before it runs and what is charged after it; one rule for quote, cap and bill."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.jobs import MAX_RESULT_BYTES, JobSpec
from farlane.domain.prices import RateVector, ceil_div
from farlane.domain.resources import GIB, GpuKind

MAX_ATTEMPT_NANO = 10**14
"""No attempt is charged more than this (100,000 credits): a price beyond it is a slip of the pen, and sums of such
amounts would leave the 64 bits in which they are stored."""


def moved_bound(spec: JobSpec, payload_bytes: int) -> int:
    """Return the most bytes one attempt may move: what goes in plus what may come out."""
    if spec.serve is not None:
        return payload_bytes
    if spec.command is None:
        return payload_bytes + MAX_RESULT_BYTES
    return (
        payload_bytes + sum(file.blob.size_bytes for file in spec.command.inputs) + spec.resources.disk_bytes
    )


@dataclass(frozen=True, slots=True)
class Meter:
    """The price of one job's attempts on one node, with the constant factors multiplied out.

    per_ms and per_byte are numerators over 1e6 x GiB (see `farlane.domain.prices.amount_ceiling`).
    """

    per_ms: int
    per_byte: int
    reserve_fixed: int

    def charge_ceiling(self, lease_ms: int, moved_bytes: int) -> int:
        """Return the price of a lease of `lease_ms` that moved `moved_bytes`, rounded up once."""
        return ceil_div(self.per_ms * lease_ms + self.per_byte * moved_bytes, 1_000_000 * GIB)

    def reserve_ceiling(self, payload_bytes: int) -> int:
        """Return the most one attempt can cost: the whole time-out and everything it may move, but at most the cap."""
        bound = ceil_div(self.reserve_fixed + self.per_byte * payload_bytes, 1_000_000 * GIB)
        return min(bound, MAX_ATTEMPT_NANO)


def meter(rates: RateVector, spec: JobSpec, gpu: GpuKind | None = None) -> Meter:
    """Multiply out what is constant for one job on one node."""
    wanted = spec.resources
    per_ms = rates.core_second * wanted.cpu_milli * GIB + rates.gib_second * wanted.memory_bytes * 1000
    if wanted.gpu is not None and gpu is not None:
        per_ms += rates.gpu_rate(gpu) * wanted.gpu.count * 1000 * GIB
    per_byte = rates.gib_moved * 1_000_000
    return Meter(per_ms, per_byte, per_ms * spec.timeout_ms + per_byte * moved_bound(spec, 0))
