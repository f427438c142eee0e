"""What a run finds out before it trains: the best rule of each setting, the scale of rewards, the spans of features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.lab.training.brain import NetworkBrain
from farlane.lab.training.config import Config
from farlane.lab.training.curves import Watcher
from farlane.lab.training.deals import Deals
from farlane.lab.training.folder import RunFolder
from farlane.lab.training.imitation import record
from farlane.lab.training.panel import Panel
from farlane.lab.training.seeds import RULES, WEIGHTS, seeds_of
from farlane.lab.training.spans import spans_of
from farlane.scheduler.learned import network
from farlane.scheduler.learned.shipped import shipped_ensemble
from farlane.scheduler.sim.world import Floats

NAME = "ground"
_DECISIONS = 512


class Ground(NamedTuple):
    """s settings.

    rules: (s,) the best of each; scales: (s,) what its rewards come to in an episode, without their sign; spans: of
    each kind of features, (f, 3) low, mean, high; start: the weights before training, as one vector.
    """

    rules: list[int]
    scales: list[float]
    spans: dict[str, Floats]
    start: Floats


def prepare(folder: RunFolder, config: Config, panel: Panel, watcher: Watcher) -> Ground:
    """Return what was kept, or find it out and keep it; raises as `RunFolder.load` and `save`."""
    kept = folder.load(NAME)
    if kept is None:
        watcher.say("looking for the best rule of each setting")
        kept = _found(config, panel)
        folder.save(NAME, kept)
    for setting, rule in zip(panel.settings, kept["rules"].tolist(), strict=True):
        watcher.say(f"  {setting.name}: {setting.rule_name(rule)}")
    spans = {name.removeprefix("spans_"): kept[name] for name in kept if name.startswith("spans_")}
    return Ground(kept["rules"].tolist(), kept["scales"].tolist(), spans, kept["start"])


def _found(config: Config, panel: Panel) -> dict[str, np.ndarray]:
    seeds = seeds_of(config.seed, RULES, 0, config.rules)
    rules = panel.best_rules(seeds)
    deals = Deals(panel.settings, rules, [1.0] * len(rules), config.width)
    scales, parts = [], []
    for row in range(len(rules)):
        lessons, returns = record([deals.game(row, seed) for seed in seeds[:2]], _DECISIONS, seeds[0])
        scales.append(max(float(np.abs(returns).mean()), 1e-6))
        parts.append(lessons)
    spans = {f"spans_{kind}": span for kind, span in spans_of(parts).items()}
    return {"rules": np.array(rules), "scales": np.array(scales), "start": _start(config), **spans}


def _start(config: Config) -> Floats:
    """Return the weights to begin with: random ones, or the mean of the shipped ones that are named."""
    if not config.start:
        return NetworkBrain().fresh(seeds_of(config.seed, WEIGHTS, 0, 1)[0])
    members = shipped_ensemble(config.start).members
    return np.asarray(np.mean([network.flatten(weights) for weights in members], axis=0), np.float64)
