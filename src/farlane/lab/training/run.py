"""One training run: stages that follow one another in a folder; each step is kept, so a killed run goes on exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from farlane.lab.training.brain import NetworkBrain
from farlane.lab.training.config import Config, Expert, Search
from farlane.lab.training.coordinates import coordinates, of_expert
from farlane.lab.training.curves import Watcher, plot
from farlane.lab.training.deals import Deals
from farlane.lab.training.folder import Row, RunFolder, State
from farlane.lab.training.gating import Gating, trusting
from farlane.lab.training.ground import Ground, prepare
from farlane.lab.training.imitation import Copying, record
from farlane.lab.training.losses import check, episodes_of, losses_each
from farlane.lab.training.metric_search import MetricSearch
from farlane.lab.training.panel import Panel, Setting
from farlane.lab.training.ppo import PolicyGradients
from farlane.lab.training.seeds import GATE, IMITATION, SEARCH, seeds_of
from farlane.lab.training.spans import merged
from farlane.scheduler.sim.world import Floats, Ints

RESULT = "result"
"""Name of the state that a finished run leaves."""
GATE_EPISODES = 8
"""Of each setting of an expert, of whose decisions the gate learns."""


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

    def end(self) -> None:
        """Do what has to be done after the last step."""

    def state(self) -> State:
        """Return what to keep."""

    def restore(self, state: State) -> None:
        """Come to a kept state: from there on all is as if there had been no pause."""


class Plan(NamedTuple):
    """A stage to come.

    name; steps: at most; share: of the time; compared: whether its result has to be compared with its start; build:
    start -> the stage.
    """

    name: str
    steps: int
    share: float
    compared: bool
    build: Callable[[Floats], Stage]


@dataclass
class Run:
    """A run on its way.

    config: what to do; folder: where; settings: what episodes are drawn from; watcher: who is told; clock: seconds;
    pause_at: of it, when to pause after a step; end_at: when to be done, the time being shared out among the stages;
    workers: processes of the search.
    """

    config: Config
    folder: RunFolder
    settings: Sequence[Setting]
    watcher: Watcher
    clock: Callable[[], float]
    pause_at: float = np.inf
    end_at: float = np.inf
    workers: int = 0

    def go(self) -> Reached | None:
        """Do what is left to do; returns what it came to, None where it paused before.

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
        everything = range(len(self.settings))
        judge = partial(check, self.config.judging, panel, ground.rules, self.config.seed, everything)
        shares = panel.shares(everything)
        plans = [plan for plan in self._plans(panel, ground) if plan.steps]
        vector = ground.start
        for at, plan in enumerate(plans):
            share = plan.share / sum(each.share for each in plans[at:])
            result = self._stage(plan, vector, share, lambda tried: float(judge(tried) @ shares))
            if result is None:
                return None
            vector = result
        kept = self.folder.load(RESULT)
        losses = judge(vector) if kept is None else kept["losses"]
        self.folder.save(RESULT, {"vector": vector, "losses": losses})
        return Reached(vector, losses)

    def _plans(self, panel: Panel, ground: Ground) -> Iterator[Plan]:
        deals = Deals(self.settings, ground.rules, ground.scales, self.config.width)
        imitation, ppo = self.config.imitation, self.config.ppo
        yield Plan("imitation", imitation.epochs, imitation.share, True, partial(self._copying, deals))
        yield Plan("ppo", ppo.iterations, ppo.share, True, partial(self._gradients, deals))
        for place, expert in enumerate(self.config.experts):
            build = partial(self._expert, panel, ground, expert, place)
            yield Plan(expert.name, expert.generations, expert.share, False, build)
        yield Plan("gate", int(bool(self.config.experts)), 0.01, False, self._gate)
        for config in self.config.searches:
            rows = [row for row, each in enumerate(self.settings) if config.of in ("all", each.kind)]
            steps = config.generations if rows else 0
            yield Plan(
                config.name, steps, config.share, False, partial(self._search, panel, ground, config, rows)
            )

    def _stage(
        self, plan: Plan, start: Floats, share: float, loss: Callable[[Floats], float]
    ) -> Floats | None:
        """Do what is left of a stage; returns the better of its start and its result, None where it paused."""
        kept = self.folder.load(plan.name)
        if kept is not None and "done" in kept:
            return kept["result"]
        stage = plan.build(start)
        if kept is not None:
            stage.restore(kept)
        self.folder.forget_after(plan.name, stage.steps)
        over_at = self.clock() + share * (self.end_at - self.clock()) if self.end_at < np.inf else np.inf
        while stage.steps < plan.steps and self.clock() < over_at:
            if self.clock() >= self.pause_at:
                return None
            began = self.clock()
            row: Row = {"stage": plan.name, "step": stage.steps + 1, **stage.step()}
            row["seconds"] = round(self.clock() - began, 3)
            self.folder.append(row)
            self.folder.save(plan.name, stage.state() | {"steps": np.array(stage.steps)})
            self.watcher.show(row, plan.steps)
        stage.end()
        result = stage.result
        if plan.compared:
            before, after = loss(start), loss(result)
            self.watcher.say(
                f"{plan.name}: loss {after:.3f} on sequences kept for choosing, {before:.3f} before"
            )
            result = result if after < before else start
        done = {"steps": np.array(stage.steps), "result": result, "done": np.array(True)}
        self.folder.save(plan.name, stage.state() | done)
        return result

    def _copying(self, deals: Deals, start: Floats) -> Stage:
        config = self.config.imitation
        self.watcher.say("recording what the best rules choose")
        seeds = seeds_of(self.config.seed, IMITATION, 0, 1 + config.episodes)
        games = [deals.game(row, seed) for row in range(len(self.settings)) for seed in seeds[1:]]
        lessons, _ = record(games, config.decisions, seeds[0])
        return Copying(config, NetworkBrain(), lessons, self.config.seed, start)

    def _gradients(self, deals: Deals, start: Floats) -> Stage:
        return PolicyGradients(self.config.ppo, NetworkBrain(), deals.deal, self.config.seed, start)

    def _gate(self, start: Floats) -> Stage:
        self.watcher.say("looking at what tells the experts' queues apart")
        seeds = seeds_of(self.config.seed, GATE, 0, GATE_EPISODES)
        contexts = []
        for place, expert in enumerate(self.config.experts):
            alone = trusting(start, place)
            found = [self.settings[row].contexts(seed, alone) for row in expert.of for seed in seeds]
            contexts.append(np.concatenate(found))
        return Gating(contexts, self.config.gate_decay, start)

    def _expert(self, panel: Panel, ground: Ground, config: Expert, place: int, start: Floats) -> Stage:
        seen = self._seen(ground, config.of)
        own = of_expert(coordinates({"experts": []}, seen), place)
        beside = coordinates(config.arrays, seen) if config.arrays else own
        return self._strategy(
            panel, ground, config, np.union1d(own, beside), config.of, trusting(start, place)
        )

    def _search(
        self, panel: Panel, ground: Ground, config: Search, rows: Sequence[int], start: Floats
    ) -> Stage:
        free = coordinates(config.arrays, self._seen(ground, rows))
        return self._strategy(panel, ground, config, free, rows, start)

    def _seen(self, ground: Ground, rows: Sequence[int]) -> dict[str, Floats] | None:
        """Return the spans of what some settings show; None where all are fleets, which record nothing."""
        if all(self.settings[row].kind == "fleets" for row in rows):
            return None
        return merged([ground.spans[row] for row in rows])

    def _strategy(
        self,
        panel: Panel,
        ground: Ground,
        config: Search | Expert,
        free: Ints,
        rows: Sequence[int],
        start: Floats,
    ) -> Stage:
        self.watcher.say(f"{config.name}: {len(free)} of {len(start)} weights, {len(rows)} settings")
        shares, judging, seed = panel.shares(rows), self.config.judging, self.config.seed

        def judge(vector: Floats) -> float:
            return float(check(judging, panel, ground.rules, seed, rows, vector) @ shares)

        def trial(vectors: list[Floats], centre: Floats, step: int) -> Floats:
            episodes = episodes_of(rows, seeds_of(seed, SEARCH, step, config.sequences))
            costs = panel.costs(vectors, episodes, centre)
            losses: Floats = (
                losses_each(judging, costs, panel.reference(ground.rules, episodes), episodes) @ shares
            )
            return losses

        return MetricSearch(config, judge, trial, seed, start, free)
