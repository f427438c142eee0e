"""The swarms of a hub: they come with their first member, go with their last, and have one seat for each node."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.errors import Exhausted, InvalidInput
from farlane.hub.models import swarms as module
from farlane.hub.models.swarms import Seat, Swarms
from farlane.kit.clock import ManualClock
from farlane.kit.hashing import sha256
from farlane.models.cid import DAG_CBOR, Cid
from farlane.models.transfer import swarm as swarm_module

ONE, TWO = (Cid(1, DAG_CBOR, sha256(name)) for name in (b"one", b"two"))


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.clock.advance(1.0)
        self.swarms = Swarms(self.clock)
        self.ended: list[str] = []
        self.woken: list[str] = []

    def sit(self, node: str, version: Cid = ONE, address: str = "10.0.0.1:1", have: bool = False) -> Seat:
        flags = np.full(4, have, np.bool_)
        return self.swarms.take_seat(
            version, node, address, flags, lambda: self.woken.append(node), lambda: self.ended.append(node)
        )


@pytest.fixture
def world() -> World:
    return World()


def test_a_swarm_is_forgotten_with_its_last_member(world: World) -> None:
    first, second = world.sit("a"), world.sit("b")
    first.leave()
    assert world.swarms.members(ONE) == {"b"}
    second.leave()
    assert len(world.swarms) == 0


def test_who_has_all_of_it_is_known(world: World) -> None:
    assert world.swarms.whole(ONE) == frozenset()
    world.sit("a", have=True)
    second = world.sit("b")
    second.has([0, 1, 2])
    assert world.swarms.whole(ONE) == {"a"}
    second.has([3])
    assert world.swarms.whole(ONE) == {"a", "b"}


def test_everybody_is_ended_when_the_hub_stops(world: World) -> None:
    world.sit("a")
    world.sit("b", TWO)
    world.swarms.close()
    assert sorted(world.ended) == ["a", "b"]


def test_versions_do_not_hear_of_one_another(world: World) -> None:
    one = world.sit("a")
    world.sit("b", TWO, have=True)
    assert not one.take_news().joined


def test_a_later_stream_of_a_node_takes_its_seat(world: World) -> None:
    earlier = world.sit("a")
    later = world.sit("a", have=True)
    assert world.ended == ["a"]
    earlier.leave()
    earlier.lacks([1])
    assert not earlier.take_news()
    assert world.swarms.members(ONE) == {"a"}
    later.leave()
    assert world.swarms.members(ONE) == frozenset()


def test_news_of_one_wake_the_others(world: World) -> None:
    first, second = world.sit("a"), world.sit("b")
    granted = first.take_news().granted
    world.woken.clear()
    first.has(granted[:1])
    assert "b" in world.woken
    assert second.take_news().has == {"a": granted[:1]}


def test_blocks_that_there_are_not_are_refused(world: World) -> None:
    seat = world.sit("a")
    with pytest.raises(InvalidInput, match="block 4 of a version or delta that has 4"):
        seat.has([4])
    with pytest.raises(InvalidInput):
        seat.lacks([1 << 31])


def test_a_grant_that_is_not_used_goes_to_another(world: World) -> None:
    first, second = world.sit("a"), world.sit("b")
    assert sorted(first.take_news().granted) == [0, 1, 2, 3]
    assert not second.take_news().granted
    world.clock.advance(30.0)
    world.swarms.tick()
    assert {*first.take_news().granted, *second.take_news().granted} == {0, 1, 2, 3}


def test_a_node_sits_in_so_many_swarms_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SEATS_OF_A_NODE", 1)
    world.sit("a")
    with pytest.raises(Exhausted, match="at most 1 swarms"):
        world.sit("a", TWO)


def test_a_seat_is_taken_again_however_many_the_node_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SEATS_OF_A_NODE", 1)
    world.sit("a")
    world.sit("a")
    assert world.ended == ["a"]


def test_a_node_that_says_it_lacks_everything_leaves_some_to_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarm_module, "FIRST_GRANTS", 1)
    monkeypatch.setattr(swarm_module, "MAX_GRANTS", 2)
    greedy = world.sit("greedy")
    world.clock.advance(5.0)
    greedy.lacks([0, 1, 2, 3])
    other = world.sit("other")
    assert len(set(greedy.take_news().granted)) == 2
    assert len(other.take_news().granted) == 1


def test_the_swarms_of_a_node_have_so_many_blocks_at_most(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BLOCKS_OF_A_NODE", 7)
    world.sit("a")
    with pytest.raises(Exhausted, match="at most 7 blocks"):
        world.sit("a", TWO)
    world.sit("b", TWO)
