"""Caps: what an organisation or one of its projects may spend in a month and in all, and hold at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from farlane.domain.resources import GpuKind, Resources
from farlane.domain.units import bytes_text, credits_text
from farlane.errors import InvalidInput

DEFAULT_ALERTS = (50, 80, 100)
LEASES, CPU_MILLI, MEMORY_BYTES, GPUS, OPEN_TASKS = (
    "leases",
    "cpu_milli",
    "memory_bytes",
    "gpus",
    "open_tasks",
)
QUOTAS = (LEASES, CPU_MILLI, MEMORY_BYTES, GPUS, OPEN_TASKS)
"""What can be held at once; beside them `gpus:MODEL` for every model of GPU."""
MAX_MODEL_CHARS = 100
_OPTIONS = {
    LEASES: "leases",
    CPU_MILLI: "cores",
    MEMORY_BYTES: "memory",
    GPUS: "gpus",
    OPEN_TASKS: "open-tasks",
}
Needs = tuple[tuple[str, int], ...]
"""What one lease takes of each quota."""


class Budget(StrEnum):
    """What a budget is counted over: a calendar month of UTC, or all time."""

    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Cap:
    """What one organisation, or one of its projects, may spend and hold.

    project: empty for the whole organisation; monthly_nano, total_nano: most nano-credits in a calendar month of UTC
    and in all, None: no such budget; quotas: the most of each thing of `QUOTAS` that it may hold at once; alerts:
    percents of each budget at which it is told; ceiling: set by the hub's owner, so that the organisation's own
    administrators can only set something lower beside it.

    Raises:
        InvalidInput: figures that cannot be.
    """

    organisation: str
    project: str
    monthly_nano: int | None = None
    total_nano: int | None = None
    quotas: Mapping[str, int] = field(default_factory=dict)
    alerts: tuple[int, ...] = DEFAULT_ALERTS
    ceiling: bool = False

    def __post_init__(self) -> None:
        figures = (("month", self.monthly_nano), ("total", self.total_nano), *self.quotas.items())
        for what, value in figures:
            if value is not None and value < 0:
                raise InvalidInput(f"the cap {what} is {value}; expected 0 or more")
        for name in self.quotas:
            if name not in QUOTAS and not (name.startswith(f"{GPUS}:") and len(name) <= MAX_MODEL_CHARS):
                raise InvalidInput(
                    f"{name!r} cannot be capped; expected one of {', '.join(QUOTAS)}, or gpus:MODEL"
                )
        if not all(0 < percent <= 100 for percent in self.alerts):
            raise InvalidInput(f"alerts are {self.alerts}; expected percents from 1 to 100")

    @property
    def empty(self) -> bool:
        """Tell whether it caps nothing."""
        return self.monthly_nano is None and self.total_nano is None and not self.quotas

    def budget(self, kind: Budget) -> int | None:
        """Return a budget in nano-credits, None where it has no such one."""
        return self.monthly_nano if kind is Budget.MONTH else self.total_nano

    @property
    def whose(self) -> str:
        """Whom it caps, for people."""
        return f"project {self.project} of {self.organisation}" if self.project else self.organisation


@dataclass(frozen=True, slots=True)
class CapState:
    """A cap with what stands against it.

    spent, spent_total, reserved: nano-credits, in this month, in all and by what runs; used: what is held now of
    everything that a quota can be on, without what is 0.
    """

    cap: Cap
    month: str
    spent: int
    spent_total: int
    reserved: int
    used: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Alert:
    """A budget has been used to `percent`. month: of a monthly budget, empty for one over all time; spent: so far."""

    cap: Cap
    budget: Budget
    month: str
    percent: int
    spent: int

    def text(self) -> str:
        """Return it for people."""
        most = credits_text(self.cap.budget(self.budget) or 0)
        over = f"of {self.month}" if self.month else "in all"
        ceiling = ", a ceiling of the hub's owner" if self.cap.ceiling else ""
        return f"{self.cap.whose} has spent {self.percent} % of its {most} credits {over}{ceiling}"


@lru_cache(maxsize=4096)
def needs(wanted: Resources, gpu: GpuKind | None) -> Needs:
    """Return what one lease takes of each quota when its GPUs are of this kind."""
    found = ((LEASES, 1), (CPU_MILLI, wanted.cpu_milli), (MEMORY_BYTES, wanted.memory_bytes))
    if wanted.gpu is None or gpu is None:
        return found
    return (*found, (GPUS, wanted.gpu.count), (gpus_of(gpu.model), wanted.gpu.count))


def gpus_of(model: str) -> str:
    """Return the name of the quota on GPUs of one model."""
    return f"{GPUS}:{model.upper()}"


def amount_text(quota: str, amount: int) -> str:
    """Return an amount of what a quota is on, for people: `4 cores`, `2 x A100`."""
    if quota == CPU_MILLI:
        return f"{amount / 1000:g} core{'' if amount == 1000 else 's'}"
    if quota == MEMORY_BYTES:
        return f"{bytes_text(amount)} of memory"
    if quota.startswith(f"{GPUS}:"):
        return f"{amount} x {quota.removeprefix(f'{GPUS}:')}"
    word = {LEASES: "lease", GPUS: "GPU"}.get(quota, "open task")
    return f"{amount} {word}{'' if amount == 1 else 's'}"


def option_of(quota: str) -> str:
    """Return how `farlane budget set` is told a quota: `--cores N`."""
    name, _, model = quota.partition(":")
    return f"--{_OPTIONS[name]} {f'{model}=N' if model else 'SIZE' if name == MEMORY_BYTES else 'N'}"
