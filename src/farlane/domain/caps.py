"""Caps: what an organisation or one of its projects may spend in a month, and hold at once."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.errors import InvalidInput

DEFAULT_ALERTS = (50, 80, 100)


@dataclass(frozen=True, slots=True)
class Cap:
    """One cap.

    project: empty for the whole organisation; monthly_nano: most nano-credits in a calendar month of UTC; max_leases:
    most attempts at once; None: no such cap; alerts: percents of the monthly cap at which it is told, once a month.

    Raises:
        InvalidInput: figures that cannot be.
    """

    organisation: str
    project: str
    monthly_nano: int | None = None
    max_leases: int | None = None
    alerts: tuple[int, ...] = DEFAULT_ALERTS

    def __post_init__(self) -> None:
        for what, value in (("month", self.monthly_nano), ("leases", self.max_leases)):
            if value is not None and value < 0:
                raise InvalidInput(f"the cap {what} is {value}; expected 0 or more")
        if not all(0 < percent <= 100 for percent in self.alerts):
            raise InvalidInput(f"alerts are {self.alerts}; expected percents from 1 to 100")

    @property
    def empty(self) -> bool:
        """Tell whether it caps nothing."""
        return self.monthly_nano is None and self.max_leases is None


@dataclass(frozen=True, slots=True)
class CapState:
    """A cap with what stands against it: spent this month, reserved by what runs (nano-credits), leases now."""

    cap: Cap
    month: str
    spent: int
    reserved: int
    leases: int


@dataclass(frozen=True, slots=True)
class Alert:
    """A monthly cap has been used to `percent`."""

    cap: Cap
    month: str
    percent: int
    spent: int
