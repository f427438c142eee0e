"""What a run finds out before it trains: the best rule of each setting, the scale of rewards, the spans of features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.errors import InvalidSetting
from farlane.kit.suggestions import hint
from farlane.lab.training.brain import NetworkBrain
from farlane.lab.training.config import Config
from farlane.lab.training.coordinates import features_of
from farlane.lab.training.curves import Watcher
from farlane.lab.training.deals import Deals
from farlane.lab.training.folder import RunFolder, State
from farlane.lab.training.imitation import record
from farlane.lab.training.panel import Panel
from farlane.lab.training.seeds import RULES, WEIGHTS, seeds_of
from farlane.lab.training.spans import spans_of
from farlane.scheduler.learned import network
from farlane.scheduler.learned.ensemble import FEATURES
from farlane.scheduler.learned.shipped import shipped_ensemble
from farlane.scheduler.sim.world import Floats

NAME = "ground"
_DECISIONS = 512


class Ground(NamedTuple):
    """s settings.

    rules: (s,) the best of each; scales: (s,) what its rewards come to in an episode, without their sign; spans: (s,)
    of each kind of features, (f, 3) low, mean, high; start: the weights before training, as one vector.
    """

    rules: list[int]
    scales: list[float]
    spans: list[dict[str, Floats]]
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
    return Ground(kept["rules"].tolist(), kept["scales"].tolist(), spans_in(kept), kept["start"])


def spans_in(kept: State) -> list[dict[str, Floats]]:
    """Return the spans of each setting as they were kept."""
    return [
        {kind: kept[f"spans_{kind}_{row}"] for kind in FEATURES if f"spans_{kind}_{row}" in kept}
        for row in range(len(kept["rules"]))
    ]


def _found(config: Config, panel: Panel) -> State:
    start = _start(config)
    seeds = seeds_of(config.seed, RULES, 0, config.rules)
    rules = panel.best_rules(seeds)
    deals = Deals(panel.settings, rules, [1.0] * len(rules), config.width)
    scales: list[float] = []
    spans: State = {}
    for row in range(len(rules)):
        if panel.settings[row].kind == "fleets":  # nobody chooses there one by one
            scales.append(1.0)
            continue
        lessons, returns = record([deals.game(row, seed) for seed in seeds[:2]], _DECISIONS, seeds[0])
        scales.append(max(float(np.abs(returns).mean()), 1e-6))
        spans |= {f"spans_{kind}_{row}": span for kind, span in spans_of(lessons).items()}
    return {"rules": np.array(rules), "scales": np.array(scales), "start": start, **spans}


def _start(config: Config) -> Floats:
    """Return the weights to begin with.

    Raises:
        NotFound: no such weights are shipped.
        InvalidSetting: an array or a feature is unknown.
    """
    start = config.start
    if start.shipped:
        members = shipped_ensemble(start.shipped).members
        vector = np.asarray(np.mean([network.flatten(weights) for weights in members], axis=0), np.float64)
    else:
        vector = NetworkBrain().fresh(seeds_of(config.seed, WEIGHTS, 0, 1)[0])
    arrays = {name: array.copy() for name, array in network.unflatten(vector)._asdict().items()}
    for name, entries in start.set.items():
        features = features_of(name)
        for feature, value in entries.items():
            if feature not in features or arrays[name].ndim != 1:
                raise InvalidSetting(f"start, set, {name}: no entry {feature!r}; {hint(feature, features)}")
            arrays[name][features.index(feature)] = value
    return np.asarray(network.flatten(network.Weights(**arrays)), np.float64)
