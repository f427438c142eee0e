"""Sizes, durations, CPU shares and money, as people write and read them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain import units
from farlane.domain.units import (
    CREDIT,
    MAX_CREDITS,
    bytes_text,
    coins_text,
    credits_text,
    parse_bytes,
    parse_cpu_milli,
    parse_credits_floor,
    parse_seconds,
    parse_units_exact,
    seconds_text,
)
from farlane.errors import InvalidInput

PARSERS: list[Callable[[str], float]] = [parse_bytes, parse_seconds, parse_cpu_milli, parse_credits_floor]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), (7, 7), ("7", 7), ("1b", 1), ("1 KB", 1000), ("1kib", 1024), ("1K", 1024), ("512MB", 512_000_000),
        ("2GiB", 2 << 30), ("2G", 2 << 30), ("1.5GiB", 3 << 29), ("1TB", 10**12), (" 1TiB ", 1 << 40), ("1t", 1 << 40),
        ("1m", 1 << 20), ("0.5", 0), ("4194304TiB", 1 << 62),
    ],
)  # fmt: skip
def test_sizes(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), (90, 90), (0.25, 0.25), ("90s", 90), ("5m", 300), ("5min", 300), ("1h30m", 5400), ("250ms", 0.25),
        ("1d", 86_400), ("1.5h", 5400), (" 2H ", 7200), ("1h30", 3630), ("1d2h3m4s5ms", 93_784.005),
    ],
)  # fmt: skip
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "milli"),
    [("2", 2000), (2, 2000), ("0.5", 500), (0.5, 500), ("500m", 500), (" 1 ", 1000), ("0", 0)],
)
def test_cpu_shares(text: str | float, milli: int) -> None:
    assert parse_cpu_milli(text) == milli


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0), ("1", CREDIT), (0.5, CREDIT // 2), ("1e-9", 1), ("0.0000000019", 1), ("1e-300", 0),
        (f"0.{'0' * 8}1{'9' * 60}", 1), (str(MAX_CREDITS), MAX_CREDITS * CREDIT),
    ],
)  # fmt: skip
def test_amounts_are_rounded_down(text: str | float, nano: int) -> None:
    assert parse_credits_floor(text) == nano


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@pytest.mark.parametrize(
    "text", ["", "lots", "-1", "nan", "inf", "1x", "1,5", "--1", "1 2", "0x10", "1e999999", "9" * 999]
)
def test_what_cannot_be_meant_is_an_error_that_says_what_can(
    parser: Callable[[str], float], text: str
) -> None:
    with pytest.raises(InvalidInput, match=r"expected|must be above zero and at most") as caught:
        parser(text)
    assert len(caught.value.message) < 200
    assert text[:40] in caught.value.message


@pytest.mark.parametrize(
    ("parser", "text", "message"),
    [
        (
            parse_bytes,
            "12 parsecs",
            "'12 parsecs' is not a size; expected something like '512MB', '2GiB' or a number",
        ),
        (parse_bytes, str((1 << 62) + 1), "is too large for a size; expected at most 4096 PiB"),
        (parse_seconds, "0s", "duration '0s' must be above zero and at most a hundred years"),
        (
            parse_seconds,
            "101 years",
            "'101 years' is not a duration; expected something like '90s', '5m' or '1h30m'",
        ),
        (parse_seconds, "40000d", "duration '40000d' must be above zero and at most a hundred years"),
        (
            parse_cpu_milli,
            "all",
            "'all' is not a CPU share; expected cores such as 2, 0.5 or '500m', at least 0",
        ),
        (parse_cpu_milli, "1e999999999m", "'1e999999999m' is not a CPU share"),
        (
            parse_credits_floor,
            -1,
            "-1 is not an amount of credits; expected a number such as 0.5, from 0 to 9000000000",
        ),
        (parse_credits_floor, "9000000000.1", "'9000000000.1' is not an amount of credits"),
    ],
)
def test_messages(parser: Callable[[object], float], text: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parser(text)
    assert caught.value.message.startswith(message) or message in caught.value.message


@given(
    st.sampled_from(PARSERS), st.text("0123456789.eE+-smhdkKMGTiBinfa ", max_size=14) | st.text(max_size=8)
)
def test_any_text_is_a_value_or_an_error_of_the_tree(parser: Callable[[str], float], text: str) -> None:
    try:
        value = parser(text)
    except InvalidInput:
        return
    assert value >= 0
    assert any(sign.isdigit() for sign in text)


@given(st.integers(0, 1 << 62))
def test_a_plain_number_is_a_number_of_bytes(size: int) -> None:
    assert parse_bytes(size) == parse_bytes(f"{size} b") == size


@given(st.integers(0, 10**6), st.sampled_from(sorted(units._SIZES)))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert parse_bytes(f"{number}{unit.upper()}") == number * units._SIZES[unit]


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    assert parse_seconds(text) == 86_400 * days + 3600 * hours + 60 * minutes + seconds


@given(st.integers(0, MAX_CREDITS * CREDIT))
def test_credits_round_trip(nano: int) -> None:
    text = credits_text(nano)
    assert parse_credits_floor(text) == nano
    assert Fraction(text) * CREDIT == nano
    assert credits_text(-nano) == (f"-{text}" if nano else "0")


@given(st.decimals(0, MAX_CREDITS, allow_nan=False, allow_infinity=False))
def test_an_amount_is_never_widened_and_never_loses_a_whole_unit(amount: Decimal) -> None:
    nano = parse_credits_floor(str(amount))
    assert nano <= Fraction(amount) * CREDIT < nano + 1


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1_200_000, "0.0012"),
        (CREDIT, "1"),
        (-CREDIT // 2, "-0.5"),
        (12 * CREDIT + 1, "12.000000001"),
    ],
)
def test_credits_as_text(nano: int, text: str) -> None:
    assert credits_text(nano) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (3 << 20, "3 MiB"), (3 << 29, "1.5 GiB"),
        (1 << 40, "1.0 TiB"), (1 << 50, "1024.0 TiB"),
    ],
)  # fmt: skip
def test_sizes_as_text(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.085, "85 ms"), (1, "1.0 s"), (4.23, "4.2 s"), (60, "1m00s"), (200, "3m20s"), (3599.6, "1h00m"),
        (7500, "2h05m"), (200_000, "55h33m"),
    ],
)  # fmt: skip
def test_durations_as_text(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "per_credit", "units"),
    [("1.5", 10**9, 15 * 10**8), ("0.000001", 10**6, 1), ("1e-3", 10**6, 1000), ("2", 3, 6), ("7", 1, 7)],
)
def test_an_amount_in_units_of_a_token_is_exact(text: str, per_credit: int, units: int) -> None:
    assert parse_units_exact(text, per_credit) == units


@pytest.mark.parametrize(
    ("text", "per_credit", "message"),
    [
        ("0", 10**9, "nothing to move; expected at least 0.000000001"),
        ("0.0000001", 10**6, "more digits than the token; expected a multiple of 0.000001"),
        ("0.5", 3, "a multiple of 1/3"),
        (f"1.{'0' * 200}1", 10**9, "more digits"),
        ("1e-99999999", 10**9, "more digits"),
        ("-1", 10**9, "not an amount"),
    ],
)
def test_an_amount_that_is_finer_than_a_token_is_refused(text: str, per_credit: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_units_exact(text, per_credit)


def test_coin_is_shown_down_to_gwei() -> None:
    assert [coins_text(wei) for wei in (0, 10**9 - 1, 10**9, 5 * 10**17)] == [
        "0 coin", "0 coin", "0.000000001 coin", "0.5 coin",
    ]  # fmt: skip
