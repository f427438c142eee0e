"""The whole swarm in virtual time: everybody completes, and the origin sends each block about once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.testing.swarm_world import BLOCK_BYTES, Manners, SwarmWorld

BLOCKS = 120


@pytest.mark.parametrize("nodes", [2, 8, 50])
def test_nodes_that_start_together_take_about_one_copy_from_the_origin(nodes: int) -> None:
    world = SwarmWorld(BLOCKS, origin_uplink=100e6)
    for number in range(nodes):
        world.add(f"n{number}")
    took_s = world.run()
    assert world.origin.sent <= 1.3 * BLOCKS
    # One copy from the origin and one more passed on, with room for the turns in between.
    assert took_s < 4 * BLOCKS * BLOCK_BYTES / 100e6 + 3.0


def test_a_late_comer_takes_nothing_from_the_origin() -> None:
    world = SwarmWorld(BLOCKS, origin_uplink=100e6)
    for number in range(4):
        world.add(f"n{number}")
    world.add("late", joined_s=60.0)
    world.run()
    assert world.origin.sent <= 1.3 * BLOCKS


def test_a_liar_is_banned_within_one_window_and_everybody_completes() -> None:
    world = SwarmWorld(BLOCKS, origin_uplink=50e6)
    world.add("liar", manners=Manners.LIAR)
    honest = [world.add(f"n{number}") for number in range(5)]
    world.run()
    assert all(peer.done_s is not None for peer in honest)
    assert all(peer.bans in ([], ["liar"]) for peer in honest)


def test_who_claims_everything_and_has_nothing_delays_nobody_for_long() -> None:
    world = SwarmWorld(BLOCKS, origin_uplink=50e6)
    world.add("claimant", manners=Manners.CLAIMANT)
    for number in range(4):
        world.add(f"n{number}", joined_s=0.5)
    world.run(until_s=120.0)


def test_a_peer_that_crawls_does_not_hold_up_the_last_blocks() -> None:
    world = SwarmWorld(BLOCKS, origin_uplink=100e6)
    world.add("crawler", uplink=0.2e6, have=range(BLOCKS))
    world.add("seed", uplink=50e6, have=range(BLOCKS))
    node = world.add("node")
    world.run(until_s=60.0)
    assert node.done_s is not None
    assert node.done_s < 20.0


def test_a_node_that_vanishes_with_its_grants_holds_nobody_up() -> None:
    world = SwarmWorld(BLOCKS, origin_uplink=50e6)
    for number in range(6):
        world.add(f"n{number}")
    world.leave("n0", at_s=0.3)
    world.leave("n1", at_s=0.7)
    world.run(until_s=60.0)
    assert world.origin.sent <= 1.5 * BLOCKS


def test_nodes_that_nobody_can_reach_live_on_the_others() -> None:
    world = SwarmWorld(BLOCKS, origin_uplink=50e6)
    for number in range(3):
        world.add(f"n{number}")
    for number in range(5):
        world.add(f"hidden{number}", hidden=True)
    world.run(until_s=120.0)
    assert world.origin.sent <= 1.4 * BLOCKS


def test_nodes_that_nobody_can_reach_and_nobody_else_take_a_copy_each() -> None:
    world = SwarmWorld(20, origin_uplink=100e6)
    for number in range(3):
        world.add(f"hidden{number}", hidden=True)
    world.run(until_s=60.0)
    assert world.origin.sent == 60


nodes_drawn = st.lists(
    st.tuples(
        st.floats(2e6, 200e6),
        st.floats(0.0, 5.0),
        st.sampled_from([Manners.HONEST] * 5 + [Manners.LIAR, Manners.STALLER, Manners.CLAIMANT]),
        st.booleans(),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=40, deadline=None)
@given(nodes=nodes_drawn, blocks=st.integers(1, 40), vanish=st.lists(st.floats(0.0, 4.0), max_size=2))
def test_every_node_completes_whoever_else_is_there(
    nodes: list[tuple[float, float, Manners, bool]], blocks: int, vanish: list[float]
) -> None:
    world = SwarmWorld(blocks, origin_uplink=20e6)
    for number, (uplink, joined_s, manners, hidden) in enumerate(nodes):
        world.add(f"n{number}", uplink=uplink, joined_s=joined_s, manners=manners, hidden=hidden)
    for number, at_s in enumerate(vanish[: len(nodes) - 1]):
        world.leave(f"n{number}", at_s=6.0 + at_s)
    world.run()


@settings(max_examples=25, deadline=None)
@given(
    nodes=st.integers(8, 24),
    blocks=st.integers(30, 150),
    spread_s=st.floats(0.0, 2.0),
    uplink=st.floats(20e6, 300e6),
)
def test_honest_nodes_never_cost_the_origin_more_than_a_third_over_one_copy(
    nodes: int, blocks: int, spread_s: float, uplink: float
) -> None:
    world = SwarmWorld(blocks, origin_uplink=100e6)
    for number in range(nodes):
        world.add(f"n{number}", uplink=uplink, joined_s=spread_s * number / nodes)
    world.run()
    assert world.origin.sent <= 1.3 * blocks + 1
