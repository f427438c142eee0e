"""Units: reading and writing sizes, durations, CPU shares and money as people do."""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, Context, Decimal, Inexact, InvalidOperation

from farlane.errors import InvalidInput

_SIZES: dict[str, int] = {
    "": 1, "b": 1,
    "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip
_MILLISECONDS = {"": 1000, "s": 1000, "ms": 1, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|min|[smhd]?)")

CREDIT = 10**9
"""Smallest units in one credit: money is an integer count of these (nano-credits)."""

MAX_CREDITS = 9 * 10**9
"""More nano-credits than this many credits do not fit in 64 bits."""
_MAX_BYTES = 1 << 62
_MAX_SECONDS = 3_200_000_000
_MAX_CORES = 10**9
_FLOOR = Context(prec=50, rounding=ROUND_FLOOR)
_EXACT = Context(prec=100, traps=[Inexact])


def parse_bytes(value: str | int) -> int:
    """Read a size: `512MB` (decimal), `2GiB` or `2G` (binary), or a plain number of bytes.

    Raises:
        InvalidInput: not a size.
    """
    found = _NUMBER.fullmatch(str(value))
    factor = _SIZES.get(found[2].lower()) if found else None
    if found is None or factor is None:
        raise InvalidInput(
            f"{_quoted(value)} is not a size; expected something like '512MB', '2GiB' or a number of bytes"
        )
    size = Decimal(found[1]) * factor
    if size > _MAX_BYTES:
        raise InvalidInput(f"{_quoted(value)} is too large for a size; expected at most 4096 PiB")
    return int(size)


def parse_seconds(value: str | float) -> float:
    """Read a duration: `90`, `90s`, `5m`, `1h30m`, `250ms`.

    Raises:
        InvalidInput: not a duration, not above zero, or above a hundred years.
    """
    text = str(value).strip().lower()
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise InvalidInput(
            f"{_quoted(value)} is not a duration; expected something like '90s', '5m' or '1h30m'"
        )
    total = float(sum((Decimal(part[1]) * _MILLISECONDS[part[2]] for part in parts), Decimal(0)) / 1000)
    if not 0 < total <= _MAX_SECONDS:
        raise InvalidInput(f"duration {_quoted(value)} must be above zero and at most a hundred years")
    return total


def parse_cpu_milli(value: str | float) -> int:
    """Read a CPU share in cores (`2`, `0.5`) or thousandths (`500m`).

    Raises:
        InvalidInput: not a CPU share.
    """
    text = str(value).strip()
    wrong = InvalidInput(
        f"{_quoted(value)} is not a CPU share; expected cores such as 2, 0.5 or '500m', at least 0"
    )
    try:
        cores = Decimal(text[:-1]) / 1000 if text.endswith("m") else Decimal(text)
    except ArithmeticError as error:
        raise wrong from error
    if not cores.is_finite() or not 0 <= cores <= _MAX_CORES:
        raise wrong
    return int((cores * 1000).to_integral_value())


def parse_credits_floor(value: str | float) -> int:
    """Read an amount of credits as nano-credits, rounded down (a cap is never widened).

    Raises:
        InvalidInput: not an amount, or negative.
    """
    wrong = InvalidInput(
        f"{_quoted(value)} is not an amount of credits; expected a number such as 0.5, from 0 to {MAX_CREDITS}"
    )
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation as error:
        raise wrong from error
    if not amount.is_finite() or not 0 <= amount <= MAX_CREDITS:
        raise wrong
    return int(_FLOOR.multiply(amount, Decimal(CREDIT)))


def parse_units_exact(value: str, units_per_credit: int) -> int:
    """Read an amount of credits above zero as units of a token; nothing is rounded.

    Args:
        value: as somebody typed it.
        units_per_credit: of the token.

    Raises:
        InvalidInput: not an amount, nothing, or finer than a unit of the token.
    """
    parse_credits_floor(value)
    amount = Decimal(value.strip())
    digits = len(str(units_per_credit)) - 1
    least = f"{Decimal(1).scaleb(-digits):f}" if units_per_credit == 10**digits else f"1/{units_per_credit}"
    if not amount:
        raise InvalidInput(f"{_quoted(value)} credits are nothing to move; expected at least {least}")
    try:
        units = _EXACT.multiply(amount, Decimal(units_per_credit))
        return int(_EXACT.to_integral_exact(units))
    except Inexact as error:
        raise InvalidInput(
            f"{_quoted(value)} has more digits than the token; expected a multiple of {least} credits"
        ) from error


def credits_text(nano: int) -> str:
    """Return nano-credits as exact decimal credits: `0.0012`."""
    whole, part = divmod(abs(nano), CREDIT)
    digits = f"{part:09d}".rstrip("0")
    sign = "-" if nano < 0 else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def coins_text(wei: int) -> str:
    """Return the coin of a chain as people read it, rounded down to gwei: `0.5 coin`."""
    return f"{credits_text(wei // 10**9)} coin"


def bytes_text(size: int) -> str:
    """Return a size as people read it: `1.5 GiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount == int(amount) else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def seconds_text(seconds: float) -> str:
    """Return a duration as people read it: `85 ms`, `4.2 s`, `3m20s`, `2h05m`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def _quoted(value: object, most: int = 60) -> str:
    """Return what somebody wrote, cut to a readable length."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
