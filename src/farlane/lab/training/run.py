"""One training run: stages that follow one another in a folder; each step is kept, so a killed run goes on exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from farlane.lab.training.brain import NetworkBrain
from farlane.lab.training.config import Config
from farlane.lab.training.curves import Watcher, plot
from farlane.lab.training.deals import Deals
from farlane.lab.training.folder import Row, RunFolder, State
from farlane.lab.training.ground import prepare
from farlane.lab.training.imitation import Copying, record
from farlane.lab.training.metric_search import MetricSearch
from farlane.lab.training.panel import Panel, Setting
from farlane.lab.training.ppo import PolicyGradients
from farlane.lab.training.seeds import IMITATION, seeds_of
from farlane.scheduler.sim.world import Floats

STAGES = ("imitation", "ppo", "search")


class Stage(Protocol):
    """A part of a run."""

    @property
    def steps(self) -> int:
        """Done so far."""

    @property
    def result(self) -> Floats:
        """The weights it comes to, as one vector."""

    def step(self) -> Row:
        """Do a step, and return its figures."""

    def state(self) -> State:
        """Return what to keep."""

    def restore(self, state: State) -> None:
        """Come to a kept state: from there on all is as if there had been no pause."""


@dataclass
class Run:
    """A run on its way.

    config: what to do; folder: where; settings: what episodes are drawn from; watcher: who is told; clock: seconds;
    stop_at: of it, when to pause after a step; workers: processes of the search.
    """

    config: Config
    folder: RunFolder
    settings: Sequence[Setting]
    watcher: Watcher
    clock: Callable[[], float]
    stop_at: float = np.inf
    workers: int = 0

    def go(self) -> Floats | None:
        """Do what is left to do; returns the weights, None where the time was up before.

        Raises:
            DiskFull: the state of the last step could not be kept; the one before was.
            Corrupted: kept state is damaged.
        """
        panel = Panel(self.settings, self.workers)
        try:
            return self._stages(panel)
        finally:
            panel.close()
            plot(self.folder)

    def _stages(self, panel: Panel) -> Floats | None:
        ground = prepare(self.folder, self.config, panel, self.watcher)
        deals = Deals(self.settings, ground.rules, ground.scales, self.config.width)
        vector: Floats | None = ground.start
        for name, steps, build in (
            ("imitation", self.config.imitation.epochs, partial(self._copying, deals)),
            ("ppo", self.config.ppo.iterations, partial(self._gradients, deals)),
            ("search", self.config.search.generations, partial(self._search, panel, ground.rules)),
        ):
            if steps and vector is not None:
                vector = self._stage(name, steps, partial(build, vector))
        return vector

    def _stage(self, name: str, steps: int, build: Callable[[], Stage]) -> Floats | None:
        """Do what is left of a stage; None where the time was up before."""
        kept = self.folder.load(name)
        if kept is not None and int(kept["steps"]) >= steps:
            return kept["result"]
        stage = build()
        if kept is not None:
            stage.restore(kept)
        self.folder.forget_after(name, stage.steps)
        while stage.steps < steps:
            if self.clock() >= self.stop_at:
                return None
            began = self.clock()
            row: Row = {"stage": name, "step": stage.steps + 1, **stage.step()}
            row["seconds"] = round(self.clock() - began, 3)
            self.folder.append(row)
            self.folder.save(name, stage.state() | {"steps": np.array(stage.steps), "result": stage.result})
            self.watcher.show(row, steps)
        return stage.result

    def _copying(self, deals: Deals, start: Floats) -> Stage:
        config = self.config.imitation
        self.watcher.say("recording what the best rules choose")
        seeds = seeds_of(self.config.seed, IMITATION, 0, 1 + config.episodes)
        games = [deals.game(row, seed) for row in range(len(self.settings)) for seed in seeds[1:]]
        lessons, _ = record(games, config.decisions, seeds[0])
        return Copying(config, NetworkBrain(), lessons, self.config.seed, start)

    def _gradients(self, deals: Deals, start: Floats) -> Stage:
        return PolicyGradients(self.config.ppo, NetworkBrain(), deals.deal, self.config.seed, start)

    def _search(self, panel: Panel, rules: Sequence[int], start: Floats) -> Stage:
        return MetricSearch(self.config.search, panel, rules, self.config.seed, start)
