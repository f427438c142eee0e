"""One training run: stages that follow one another in a folder; each step is kept, so a killed run goes on exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from farlane.lab.training.brain import NetworkBrain
from farlane.lab.training.config import Config
from farlane.lab.training.coordinates import coordinates
from farlane.lab.training.curves import Watcher, plot
from farlane.lab.training.deals import Deals
from farlane.lab.training.folder import Row, RunFolder, State
from farlane.lab.training.ground import Ground, prepare
from farlane.lab.training.imitation import Copying, record
from farlane.lab.training.metric_search import MetricSearch, check
from farlane.lab.training.panel import Panel, Setting
from farlane.lab.training.ppo import PolicyGradients
from farlane.lab.training.seeds import IMITATION, seeds_of
from farlane.scheduler.sim.world import Floats

RESULT = "result"
"""Name of the state that a finished run leaves."""


class Reached(NamedTuple):
    """Weights as one vector, and their loss in each setting, (s,), on episodes kept for choosing: see `check`."""

    vector: Floats
    losses: Floats


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

    def go(self) -> Reached | None:
        """Do what is left to do; returns what it came to, None where the time was up before.

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

    def _stages(self, panel: Panel) -> Reached | None:
        ground = prepare(self.folder, self.config, panel, self.watcher)
        deals = Deals(self.settings, ground.rules, ground.scales, self.config.width)
        judge = partial(check, self.config.search, panel, ground.rules, self.config.seed)
        best = Reached(ground.start, np.full(len(self.settings), np.inf))
        for name, steps, build in (
            ("imitation", self.config.imitation.epochs, partial(self._copying, deals)),
            ("ppo", self.config.ppo.iterations, partial(self._gradients, deals)),
            ("search", self.config.search.generations, partial(self._search, panel, ground)),
        ):
            if not steps:
                continue
            reached = self._stage(name, steps, partial(build, best.vector), judge)
            if reached is None:
                return None
            loss, before = (float(each.losses @ panel.shares) for each in (reached, best))
            self.watcher.say(
                f"{name}: {np.exp(loss):.3f} of the best rules' cost, on sequences kept for choosing"
            )
            best = reached if loss < before else best
        self.folder.save(RESULT, {"vector": best.vector, "losses": best.losses})
        return best

    def _stage(
        self, name: str, steps: int, build: Callable[[], Stage], judge: Callable[[Floats], Floats]
    ) -> Reached | None:
        """Do what is left of a stage, and judge its result; None where the time was up before."""
        kept = self.folder.load(name)
        if kept is not None and "losses" in kept:
            return Reached(kept["result"], kept["losses"])
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
            self.folder.save(name, self._kept(stage))
            self.watcher.show(row, steps)
        reached = Reached(stage.result, judge(stage.result))
        self.folder.save(name, self._kept(stage) | {"losses": reached.losses})
        return reached

    @staticmethod
    def _kept(stage: Stage) -> State:
        return stage.state() | {"steps": np.array(stage.steps), "result": stage.result}

    def _copying(self, deals: Deals, start: Floats) -> Stage:
        config = self.config.imitation
        self.watcher.say("recording what the best rules choose")
        seeds = seeds_of(self.config.seed, IMITATION, 0, 1 + config.episodes)
        games = [deals.game(row, seed) for row in range(len(self.settings)) for seed in seeds[1:]]
        lessons, _ = record(games, config.decisions, seeds[0])
        return Copying(config, NetworkBrain(), lessons, self.config.seed, start)

    def _gradients(self, deals: Deals, start: Floats) -> Stage:
        return PolicyGradients(self.config.ppo, NetworkBrain(), deals.deal, self.config.seed, start)

    def _search(self, panel: Panel, ground: Ground, start: Floats) -> Stage:
        free = coordinates(self.config.search.arrays, ground.spans)
        self.watcher.say(f"searching {len(free)} of {len(start)} weights")
        return MetricSearch(self.config.search, panel, ground.rules, self.config.seed, start, free)
