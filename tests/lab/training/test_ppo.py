"""Policy gradients on a toy whose best policy is known, and what their parts promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the lab extra is not installed: pip install 'farlane[lab]'")

from farlane.lab.training.config import Ppo  # noqa: E402
from farlane.lab.training.learning import advantages, entropy, log_probabilities  # noqa: E402
from farlane.lab.training.ppo import PolicyGradients  # noqa: E402
from farlane.lab.training.rollout import TASK, Game, Seen  # noqa: E402
from farlane.scheduler.sim.world import Floats  # noqa: E402

WIDTH = 4


class Toy:
    """Six decisions: the reward is the chosen candidate's feature; the last candidate cannot be chosen."""

    def __init__(self, seed: int) -> None:
        self.random, self.left = np.random.default_rng(seed), 6

    def see(self) -> Seen | None:
        if not self.left:
            return None
        self.rows = self.random.random((WIDTH, 1)).astype(np.float32)
        self.rows[-1] = 9.0
        mask = np.array([True] * (WIDTH - 1) + [False, False])
        return Seen(TASK, self.rows, mask, np.zeros(1, np.float32), np.zeros(1, np.float32))

    def choose(self, at: int) -> float:
        assert at < WIDTH - 1
        self.left -= 1
        return float(self.rows[at, 0])

    def taught(self) -> int:
        return int(np.argmax(self.rows[:-1, 0]))

    def cost(self) -> float:
        return 0.0


class OneWeight:
    """Scores a candidate by its feature times one weight."""

    def fresh(self, seed: int) -> Floats:
        return np.zeros(1)

    def initial(self, vector: Floats, seed: int) -> Any:
        return {"weight": np.asarray(vector, np.float32), "value": np.zeros(1, np.float32)}

    def vector(self, weights: Any) -> Floats:
        return np.asarray(weights["weight"], np.float64)

    def forward(self, kind: int) -> Any:
        def scores(weights: Any, seen: Any) -> tuple[Any, Any]:
            rows, _, context, _ = seen
            candidates = rows[..., 0] * weights["weight"]
            wait = jax.numpy.zeros((len(rows), 1))
            return jax.numpy.concatenate([candidates, wait], axis=1), context[:, 0] + weights["value"]

        return scores


def deal(seed: int, count: int) -> tuple[list[Game], list[float]]:
    games = [Toy(seed + at) for at in range(count)]
    games[0].left = 0  # nothing to decide
    return list(games), [7.0] + [1.0] * (count - 1)


def test_it_learns_what_pays() -> None:
    config = Ppo(iterations=15, episodes=16, batch=32, step=0.1, warmup=1, kl=1.0)
    stage = PolicyGradients(config, OneWeight(), deal, seed=1, start=np.zeros(1))
    returns = [float(stage.step()["return"]) for _ in range(config.iterations)]
    assert stage.result[0] > 1.0
    assert np.mean(returns[-3:]) > np.mean(returns[:2]) + 0.5
    assert pytest.approx(np.mean(returns[:2]), abs=0.3) == 6 * 0.5  # chance, before it learns


def test_it_goes_on_from_a_kept_state_exactly() -> None:
    config = Ppo(iterations=4, episodes=3, batch=8, step=0.1, warmup=1)

    def fresh() -> PolicyGradients:
        return PolicyGradients(config, OneWeight(), deal, seed=1, start=np.zeros(1))

    straight, first, second = fresh(), fresh(), fresh()
    rows = [straight.step() for _ in range(4)]
    first.step()
    first.step()
    second.restore(first.state())
    assert [second.step(), second.step()] == rows[2:]
    np.testing.assert_array_equal(second.result, straight.result)


def test_what_is_masked_has_no_probability_and_no_gradient() -> None:
    scores = jax.numpy.array([[1.0, 2.0, 50.0], [0.0, -3.0, 1.0]])
    mask = jax.numpy.array([[True, True, False], [False, True, False]])
    log_p = log_probabilities(scores, mask)
    probabilities = np.exp(log_p)
    assert (probabilities[~np.asarray(mask)] == 0.0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)
    assert np.isfinite(entropy(log_p)).all()
    assert entropy(log_p)[1] == 0.0
    gradient = jax.grad(lambda tried: entropy(log_probabilities(tried, mask)).sum())(scores)
    assert (np.asarray(gradient)[~np.asarray(mask)] == 0.0).all()


def test_advantages_are_those_of_the_definition() -> None:
    rewards, values = np.array([1.0, -2.0, 3.0]), np.array([0.5, 1.0, -1.0])
    errors = rewards + 0.9 * np.array([1.0, -1.0, 0.0]) - values
    found, targets = advantages(rewards, values, discount=0.9, trace=0.8)
    step = 0.9 * 0.8
    np.testing.assert_allclose(
        found, [errors[0] + step * errors[1] + step**2 * errors[2], errors[1] + step * errors[2], errors[2]]
    )
    np.testing.assert_allclose(targets, found + values)


def test_undiscounted_advantages_are_what_is_still_to_come_beyond_the_value() -> None:
    rewards, values = np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.0, 3.0])
    found, targets = advantages(rewards, values, discount=1.0, trace=1.0)
    np.testing.assert_allclose(found, [4.0, 3.0, 1.0])
    np.testing.assert_allclose(targets, [7.0, 6.0, 4.0])
