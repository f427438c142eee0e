"""Small episodes for the tests of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farlane.lab.training.queue_setting import QueueSetting
from farlane.scheduler.sim.plain import no_changes, no_rows, plain_nodes, plain_tasks
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.world import World


@dataclass(frozen=True)
class Jobs:
    """Some jobs of 1 to 16 processors that come quicker than a pool of 16 can run them."""

    count: int = 24

    def __call__(self, seed: int) -> World:
        random = np.random.default_rng(seed)
        demand = np.zeros((self.count, 3), np.int64)
        demand[:, 0] = random.integers(1, 17, self.count)
        run = np.floor(10 ** random.uniform(0.5, 3.0, self.count))
        tasks = plain_tasks(np.sort(np.floor(random.uniform(0, 1500, self.count))), demand)._replace(
            run_s=run, estimate_s=run * 2, user=random.integers(0, 3, self.count)
        )
        nodes = plain_nodes(np.array([[16, 0, 0]]))
        return World(nodes, tasks, no_changes(), np.ones((1, 1)), no_rows())


RULES = tuple(int(rule) for rule in (Rule.FCFS, Rule.SJF, Rule.F1))


def queue(name: str = "small", *, backfill: bool = False, count: int = 24) -> QueueSetting:
    return QueueSetting(name, Jobs(count), backfill, rules=RULES)
