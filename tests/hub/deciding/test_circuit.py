"""The circuit: a policy that fails is left alone for longer and longer, and its process never starts in a storm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farlane.hub.deciding.circuit import FAILURES, Circuit, Starts


def test_it_is_asked_until_it_has_failed_several_times_in_a_row() -> None:
    circuit = Circuit()
    for _ in range(FAILURES - 1):
        circuit.failed(10.0)
    assert circuit.may_ask(10.0)
    circuit.succeeded()
    for _ in range(FAILURES):
        circuit.failed(10.0)
    assert not circuit.may_ask(10.9)
    assert circuit.may_ask(11.0)


def test_each_failed_try_doubles_the_rest_up_to_a_minute() -> None:
    circuit, now, rests = Circuit(), 0.0, []
    for _ in range(FAILURES - 1):
        circuit.failed(now)
    for _ in range(9):
        circuit.failed(now)
        rests.append(circuit.until - now)
        now = circuit.until
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    circuit.succeeded()
    circuit.failed(now)
    assert circuit.may_ask(now)


def test_a_process_that_lived_long_starts_again_at_once() -> None:
    starts = Starts()
    for _ in range(10):
        starts.died(0.0)
    assert starts.until == 60.0
    starts.started(60.0)
    starts.died(121.0)
    assert starts.until == 121.25


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=200))
def test_starts_of_a_process_that_dies_at_once_are_few(lives: list[float]) -> None:
    starts, now, begun = Starts(), 0.0, 0
    for life in lives:
        now = max(now, starts.until)
        assert starts.may_start(now)
        starts.started(now)
        begun += 1
        now += life
        starts.died(now)
        assert not starts.may_start(now)
    # 0.25 + 0.5 + ... + 32, then one a minute.
    assert begun <= 9 + now / 60
