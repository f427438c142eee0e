"""The network while it learns scores as it does in the simulator, and its values leave the shared encoder alone."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the lab extra is not installed: pip install 'farlane[lab]'")

from tests.lab.training.small import queue  # noqa: E402
from tests.lab.training.test_packing_setting import listed, setting  # noqa: E402

from farlane.lab.training.brain import NetworkBrain  # noqa: E402
from farlane.lab.training.learning import IMPOSSIBLE  # noqa: E402
from farlane.lab.training.rollout import NODE, TASK, stacked  # noqa: E402
from farlane.scheduler.learned.network import SIZE, unflatten  # noqa: E402
from farlane.scheduler.sim.learned_packing import fleet_of, packing_scores  # noqa: E402
from farlane.scheduler.sim.learned_queue import queue_scores  # noqa: E402
from farlane.scheduler.sim.rules import Rule  # noqa: E402

VECTOR = np.random.default_rng(3).normal(0.0, 0.3, SIZE)


def test_tasks_are_scored_as_in_the_simulator() -> None:
    jobs = queue(backfill=True)
    world = jobs.draw(5)
    game = jobs.game(world, 5, int(Rule.SJF), 32)
    for _ in range(3):
        seen = game.see()
        assert seen is not None
        before = queue_scores(world, game.state, unflatten(VECTOR), True)
        _, *columns = stacked([seen])
        brain = NetworkBrain()
        scores, _ = brain.forward(TASK)(brain.initial(VECTOR, 0), tuple(columns))
        np.testing.assert_allclose(scores[0, : len(before)], before, rtol=2e-4, atol=2e-4)
        game.choose(0)


def test_nodes_are_scored_as_in_the_simulator() -> None:
    world, _ = listed(3)
    game = setting().game(world, 3, 0, 6)
    seen = game.see()
    assert seen is not None
    fleet = fleet_of(world, game.usual)
    added = game.known.added[game.row][game.nodes]
    free = game.state.gpu_free.sum() / (fleet.gpus * 1000)
    expected = packing_scores(world, game.state, fleet, unflatten(VECTOR), game.task, game.nodes, added, free)
    _, *columns = stacked([seen])
    brain = NetworkBrain()
    scores, _ = brain.forward(NODE)(brain.initial(VECTOR, 0), tuple(columns))
    np.testing.assert_allclose(scores[0, : len(expected)], expected, rtol=2e-4, atol=2e-4)
    assert scores[0, -1] == np.float32(IMPOSSIBLE)  # a task that is forced cannot wait


def test_values_pull_at_nothing_that_is_shipped() -> None:
    seen = queue().game(queue().draw(5), 5, int(Rule.SJF), 8).see()
    assert seen is not None
    _, *columns = stacked([seen])
    brain = NetworkBrain()
    policy, head = brain.initial(VECTOR, 0)
    head = {**head, "out": np.ones_like(head["out"])}
    gradient, own = jax.grad(lambda tried: brain.forward(TASK)(tried, tuple(columns))[1].sum())(
        (policy, head)
    )
    assert all((np.asarray(part) == 0).all() for part in gradient)
    assert np.abs(own["hidden"]).max() > 0
    np.testing.assert_allclose(brain.vector((policy, head)), VECTOR, rtol=1e-6)
