"""The loss of weights: what they cost beside the best rules, robustly averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farlane.lab.training.config import Judging
from farlane.lab.training.panel import LEAST_COST, Episode, Panel
from farlane.lab.training.seeds import CHECK, seeds_of
from farlane.scheduler.sim.world import Floats


def check(
    judging: Judging, panel: Panel, rules: Sequence[int], seed: int, rows: Sequence[int], vector: Floats
) -> Floats:
    """Return the loss of weights in each of some settings, on the episodes that are kept for choosing: (rows,)."""
    episodes = episodes_of(rows, seeds_of(seed, CHECK, 0, judging.sequences))
    reference = panel.reference(rules, episodes)
    found: Floats = losses_each(judging, panel.costs([vector], episodes), reference, episodes)[0]
    return found


def episodes_of(rows: Sequence[int], seeds: Sequence[int]) -> list[Episode]:
    """Return an episode of each setting by each seed."""
    return [Episode(row, seed) for row in rows for seed in seeds]


def losses_each(judging: Judging, costs: Floats, reference: Floats, episodes: Sequence[Episode]) -> Floats:
    """Return how much more than the best rule weights cost in each setting, as a logarithm: (v, s).

    0 is as good as the rule, -0.1 a tenth less. `mean_share` of it is the logarithm of mean cost over mean cost,
    what is judged by in the end; the rest is the mean of each sequence's logarithm, in which a single heavy sequence
    cannot decide. Both are bounded by +-clip.

    Args:
        judging: clip and mean_share.
        costs: (v, e) of v vectors on e episodes.
        reference: (e,) of the rules.
        episodes: (e,).
    """
    costs = np.where(np.isfinite(costs), np.maximum(costs, LEAST_COST), np.inf)
    reference = np.maximum(reference, LEAST_COST)
    rows = np.array([episode.setting for episode in episodes])
    found = []
    for row in np.unique(rows):
        here = rows == row
        each = np.clip(np.log(costs[:, here] / reference[here]), -judging.clip, judging.clip).mean(axis=1)
        whole = np.log(costs[:, here].sum(axis=1) / reference[here].sum())
        share = judging.mean_share
        found.append(share * np.clip(whole, -judging.clip, judging.clip) + (1.0 - share) * each)
    return np.stack(found, axis=1)
