"""Options of functions: forms that are read, and the message for each that cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import farlane
from farlane.domain.jobs import Durability
from farlane.domain.resources import GpuRequest, Resources
from farlane.domain.units import CREDIT
from farlane.errors import InvalidJob
from farlane.sdk.options import read_deadline

NOW = 1_750_000_000.0


def decorated(**options: Any) -> farlane.Function[[int], int]:
    app = farlane.App("demo")

    @app.function(**options)
    def f(x: int) -> int:
        return x + 1

    return f


def test_every_option_reaches_the_options_of_the_function() -> None:
    options = decorated(
        cpu=0.5, memory="2GB", gpu="A100:2", disk="10GB", retries=2, timeout="1m", priority=80, max_price="0.5",
        budget=2, requires=["numpy>=2"], labels={"zone": "north"}, env={"B": "2", "A": "1"}, durability="relaxed",
        estimate=0.25,
    ).options  # fmt: skip
    assert options.resources == Resources(500, 2 * 10**9, 10**10, GpuRequest(2, "A100"))
    assert (options.retries, options.timeout_ms, options.priority) == (2, 60_000, 80)
    assert (options.max_price, options.budget) == (CREDIT // 2, 2 * CREDIT)
    assert (options.requires, options.labels) == (("numpy>=2",), (("zone", "north"),))
    assert options.env == (("A", "1"), ("B", "2"))
    assert (options.durability, options.estimate_ms) == (Durability.RELAXED, 250)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpu": 0}, "cpu is 0 thousandths"),
        ({"cpu": "many"}, "cpu: 'many' is not a CPU share"),
        ({"cpu": True}, "cpu is true; expected an amount"),
        ({"memory": 4}, "memory: 4 is 4 bytes, too little .* '4GB'"),
        ({"memory": "lots"}, "memory: 'lots' is not a size"),
        ({"disk": "-1GB"}, "disk: '-1GB' is not a size"),
        ({"gpu": "?"}, "gpu '\\?' cannot be read"),
        ({"retries": -1}, "retries is -1; expected a whole number from 0 to 100"),
        ({"retries": 1.5}, "retries is 1.5"),
        ({"timeout": 0}, "timeout: duration 0 must be above zero"),
        ({"timeout": "40d"}, "timeout is '40d'; expected at most 30 days"),
        ({"priority": 101}, "priority is 101; expected a whole number from 0 to 100"),
        ({"max_price": "cheap"}, "max_price: 'cheap' is not an amount"),
        ({"budget": -1}, "budget: -1 is not an amount"),
        ({"requires": "numpy"}, "requires is the text 'numpy'; expected a list"),
        ({"requires": [""]}, "requires has ''"),
        ({"labels": {"a b": "x"}}, "labels: 'a b' is not a label"),
        ({"env": {"A-B": "x"}}, "env: 'A-B' is not a variable name"),
        ({"env": {"A": 1}}, "env: A is 1; expected a text"),
        ({"durability": "sturdy"}, "durability is 'sturdy'; expected 'durable'"),
        ({"estimate": "soon"}, "estimate: 'soon' is not a duration"),
        ({"deadline": "2001-01-01T00:00:00+00:00"}, "has passed"),
        ({"deadline": "2100-01-01T00:00:00"}, "has no time zone"),
        ({"deadline": "2100-99-01"}, "deadline '2100-99-01' cannot be read"),
        ({"deadline": "soon"}, "deadline: 'soon' is not a duration"),
    ],
)
def test_an_impossible_option_is_refused_when_the_function_is_decorated(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidJob, match=message):
        decorated(**options)


def test_a_deadline_is_a_moment_or_counts_from_the_submission() -> None:
    moment = datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert read_deadline(None, NOW) is None
    assert read_deadline("90s", NOW) == NOW + 90
    assert read_deadline(2.5, NOW) == NOW + 2.5
    assert read_deadline(moment, NOW) == moment.timestamp()
    assert read_deadline("2030-01-31T12:00:00+00:00", NOW) == moment.timestamp()


def test_an_app_needs_a_name() -> None:
    with pytest.raises(InvalidJob, match="expected a text of 1 to 100 characters"):
        farlane.App("")
