"""The session alone: whom it asks for what, event by event."""

from __future__ import annotations

import numpy as np

from farlane.models.transfer.bitmap import Flags, flags_of
from farlane.models.transfer.commands import Ask, Ban, Cancel, Command, Done, Lacking
from farlane.models.transfer.session import LACKING_S, Session
from farlane.models.transfer.sources import FIRST_DEADLINE_S, FIRST_WINDOW, STRIKES, Fault

SIZE = 1 << 20


def a_session(blocks: int, have: tuple[int, ...] = (), start: int = 0) -> Session:
    return Session([SIZE] * blocks, flags_of(blocks, have), start=start)


def everything(blocks: int) -> Flags:
    return np.ones(blocks, np.bool_)


def asked(commands: list[Command]) -> list[tuple[str, int]]:
    return [(command.source, command.index) for command in commands if isinstance(command, Ask)]


def test_a_session_that_lacks_nothing_is_done_at_once_and_says_so_once() -> None:
    session = a_session(2, have=(0, 1))
    assert session.begin(0.0) == [Done()]
    assert session.tick(1.0) == []


def test_the_rarest_block_goes_first() -> None:
    session = a_session(3)
    session.source_joined(0.0, "a", flags_of(3))
    session.source_joined(0.0, "b", flags_of(3))
    session.source_has(0.0, "a", [0])  # asked at once: nothing rarer is known yet
    session.sources["b"].window = 1
    session.sources["a"].have |= flags_of(3, [1])
    session._copies += flags_of(3, [1])
    commands = session.source_has(0.0, "b", [1, 2])
    assert ("b", 2) in asked(commands)


def test_a_session_begins_where_it_is_told_to() -> None:
    session = a_session(10, start=7)
    first = asked(session.source_joined(0.0, "a", everything(10)))
    assert first == [("a", 7), ("a", 8), ("a", 9), ("a", 0)]
    assert len(first) == FIRST_WINDOW


def test_several_sources_are_asked_for_different_blocks() -> None:
    session = a_session(8)
    first = asked(session.source_joined(0.0, "a", everything(8)))
    second = asked(session.source_joined(0.0, "b", everything(8)))
    assert {index for _, index in first}.isdisjoint(index for _, index in second)


def test_a_quick_source_gets_more_requests_than_a_slow_one() -> None:
    session = a_session(400)
    session.source_joined(0.0, "quick", everything(400))
    session.source_joined(0.0, "slow", everything(400))
    now = 0.0
    for _ in range(40):
        now += 0.005
        session.arrived(now, "quick", next(iter(session.sources["quick"].asked)))
    session.arrived(1.0, "slow", next(iter(session.sources["slow"].asked)))
    assert session.sources["quick"].window > 20
    assert session.sources["slow"].window <= 2


def test_who_sends_a_wrong_byte_is_banned_with_that_block_and_others_are_asked() -> None:
    session = a_session(4)
    first = asked(session.source_joined(0.0, "liar", everything(4)))
    commands = session.source_joined(0.0, "honest", everything(4))
    assert asked(commands) == []
    after = session.failed(0.1, "liar", first[0][1], Fault.LIED)
    assert [command.source for command in after if isinstance(command, Ban)] == ["liar"]
    assert sorted(asked(after)) == [("honest", index) for index in range(4)]
    assert {command.index for command in after if isinstance(command, Cancel)} == {1, 2, 3}
    assert session.source_joined(0.2, "liar", everything(4)) == []
    assert session.source_has(0.2, "liar", [1]) == []


def test_a_source_that_stalls_loses_its_requests_to_another() -> None:
    session = a_session(2)
    session.source_joined(0.0, "stalled", everything(2))
    session.source_joined(0.0, "other", everything(2))
    assert asked(session.tick(FIRST_DEADLINE_S - 0.1)) == []
    assert sorted(asked(session.tick(FIRST_DEADLINE_S + 0.1))) == [("other", 0), ("other", 1)]
    session.arrived(5.0, "other", 0)
    last = session.arrived(5.1, "other", 1)
    assert [type(command) for command in last if not isinstance(command, Cancel)] == [Done]


def test_a_block_of_a_few_bytes_does_not_make_a_source_look_slow() -> None:
    session = Session([SIZE, SIZE, 77, SIZE], flags_of(4))
    session.source_joined(0.0, "a", everything(4))
    for now, index in ((0.1, 0), (0.2, 1), (0.25, 2)):
        session.arrived(now, "a", index)
    assert session.sources["a"].rate > SIZE
    session.source_joined(0.3, "b", everything(4))
    assert asked(session.tick(4.0)) == [("b", 3)]


def test_the_only_source_is_asked_again_after_it_was_left_alone() -> None:
    session = a_session(1)
    session.source_joined(0.0, "only", everything(1))
    now, again = 0.0, 0
    while not again and now < 120.0:
        now += 0.5
        again = len(asked(session.tick(now)))
    assert again == 1
    assert now > STRIKES * FIRST_DEADLINE_S


def test_a_source_without_the_block_is_not_asked_for_it_again() -> None:
    session = a_session(2)
    session.source_joined(0.0, "a", everything(2))
    after = session.failed(0.1, "a", 0, Fault.MISSING)
    assert asked(after) == []
    assert asked(session.source_joined(0.2, "b", everything(2))) == [("b", 0)]


def test_in_the_end_a_quick_source_is_asked_for_what_a_slow_one_owes() -> None:
    session = a_session(12)
    session.source_joined(0.0, "slow", everything(12))
    session.source_joined(0.0, "quick", everything(12))
    session.arrived(2.0, "slow", 0)
    now, doubled = 2.0, False
    while session.sources["quick"].asked and not doubled:
        now += 0.01
        commands = session.arrived(now, "quick", next(iter(session.sources["quick"].asked)))
        doubled = any(
            source == "quick" and "slow" in session._holders[index] for source, index in asked(commands)
        )
    assert doubled


def test_a_block_that_nobody_usable_has_is_named_after_a_while() -> None:
    session = a_session(3, have=(0,))
    session.source_joined(0.0, "origin", flags_of(3), origin=True)
    session.source_joined(0.0, "a", flags_of(3, [1]))
    assert session.tick(0.1) == []
    assert session.tick(0.2 + LACKING_S) == [Lacking((2,))]
    assert asked(session.source_has(2.0, "origin", [2])) == [("origin", 2)]


def test_the_origin_is_asked_only_for_what_it_was_granted_for() -> None:
    session = a_session(6)
    assert session.source_joined(0.0, "origin", flags_of(6), origin=True) == []
    assert asked(session.source_has(0.0, "origin", [4])) == [("origin", 4)]


def test_a_source_that_leaves_gives_back_what_it_was_asked_for() -> None:
    session = a_session(3)
    session.source_joined(0.0, "a", everything(3))
    session.source_joined(0.0, "b", everything(3))
    assert sorted(asked(session.source_left(0.1, "a"))) == [("b", 0), ("b", 1), ("b", 2)]
    assert session.arrived(0.2, "a", 0)[0] == Cancel("b", 0)  # it had been on its way
