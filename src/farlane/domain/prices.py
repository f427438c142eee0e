"""Prices: rate vectors in integers and the amounts that follow from them, with the rounding in the name."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.resources import GIB, GpuKind, Resources


@dataclass(frozen=True, slots=True)
class RateVector:
    """What a provider asks, in nano-credits.

    core_second: per core and second; gib_second: per GiB of memory and second; gpu_second: per device and
    second by model name ("*" is any other model); gib_moved: per GiB of payloads, inputs and outputs.
    """

    core_second: int = 0
    gib_second: int = 0
    gpu_second: tuple[tuple[str, int], ...] = ()
    gib_moved: int = 0

    def gpu_rate(self, kind: GpuKind) -> int:
        """Return the rate of one device of `kind` per second."""
        rates = dict(self.gpu_second)
        return rates.get(kind.model, rates.get("*", 0))


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide integers, rounding up."""
    return -(-numerator // denominator)


def amount_ceiling(
    rates: RateVector, reserved: Resources, lease_ms: int, moved_bytes: int = 0, gpu: GpuKind | None = None
) -> int:
    """Return the price of one lease in nano-credits, rounded up once at the end.

    amount = ceil(lease seconds x (cores x core_second + GiB x gib_second + GPUs x gpu_second)
                  + GiB moved x gib_moved), every factor exact.
    """
    # One common denominator: milli-cores x milliseconds = 1e6, bytes x milliseconds = 1000 GiB.
    nano = rates.core_second * reserved.cpu_milli * lease_ms * GIB
    nano += rates.gib_second * reserved.memory_bytes * lease_ms * 1000
    if reserved.gpu is not None and gpu is not None:
        nano += rates.gpu_rate(gpu) * reserved.gpu.count * lease_ms * 1000 * GIB
    nano += rates.gib_moved * moved_bytes * 1_000_000
    return ceil_div(nano, 1_000_000 * GIB)


def hourly_ceiling(rates: RateVector, reserved: Resources, gpu: GpuKind | None = None) -> int:
    """Return the price of an hour of the reserved resources, in nano-credits: what `max_price` caps."""
    return amount_ceiling(rates, reserved, 3_600_000, 0, gpu)
