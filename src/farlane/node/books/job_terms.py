"""A job's terms on this node: its specification, prices and leaf makers, worked out once for all of its attempts."""

from __future__ import annotations

from collections.abc import Iterable

from farlane.domain.billing import Meter, meter
from farlane.domain.jobs import Durability, JobSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import GpuKind
from farlane.ledger.leaf import NONE, gpu_digest
from farlane.ledger.leaf_maker import LeafMaker


class JobTerms:
    """One job as leaves of this node describe it.

    Args:
        spec: the job's, as the hub sent it.
        rates: this node's prices.
        kinds: the GPUs of this node.
    """

    __slots__ = ("_makers", "_meters", "durable", "kinds", "open", "organisation", "rates", "spec")

    def __init__(self, spec: JobSpec, rates: RateVector, kinds: Iterable[GpuKind]) -> None:
        self.spec, self.rates, self.organisation = spec, rates, spec.organisation
        self.durable = spec.durability is Durability.DURABLE
        request = spec.resources.gpu
        self.kinds: dict[bytes, GpuKind | None] = (
            {NONE: None}
            if request is None
            else {gpu_digest(kind.model): kind for kind in kinds if request.accepts(kind)}
        )
        self.open = 0
        """Attempts of it that are remembered."""
        self._makers: dict[GpuKind | None, LeafMaker] = {}
        self._meters: dict[GpuKind | None, Meter] = {}

    def maker(self, kind: GpuKind | None) -> LeafMaker:
        """Return what packs leaves of attempts that hold this kind of GPU."""
        found = self._makers.get(kind)
        if found is None:
            found = self._makers[kind] = LeafMaker(self.spec, self.rates, kind)
        return found

    def meter(self, kind: GpuKind | None) -> Meter:
        """Return the price of attempts that hold this kind of GPU."""
        found = self._meters.get(kind)
        if found is None:
            found = self._meters[kind] = meter(self.rates, self.spec, kind)
        return found

    def charge_time(self, kind: GpuKind | None, lease_ms: int, payload_bytes: int) -> int:
        """Return what a lease of `lease_ms` alone costs, in nano-credits: at most what it reserved."""
        price = self.meter(kind)
        return min(price.reserve_ceiling(payload_bytes), price.charge_ceiling(lease_ms, 0))

    def charge(self, kind: GpuKind | None, lease_ms: int, payload_bytes: int, result_bytes: int) -> int:
        """Return what an attempt costs, in nano-credits: at most what it reserved."""
        price = self.meter(kind)
        asked = price.charge_ceiling(lease_ms, payload_bytes + result_bytes)
        return min(asked, price.reserve_ceiling(payload_bytes))
