"""The network's heads as loops that numba compiles: the same numbers as `scheduler.learned.network`, quicker."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.learned import features
from farlane.scheduler.learned.features import PAIR_FEATURES, TASK_FEATURES, PairColumns, TaskColumns
from farlane.scheduler.learned.network import EXPERTS, Weights
from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.world import Floats

FEATURES, PAIRS = len(TASK_FEATURES), len(PAIR_FEATURES)
fill_asked = compiled(features.fill_asked)
fill_habits = compiled(features.fill_habits)
global_features = compiled(features.global_features)
node_features = compiled(features.node_features)
fill_places, fill_ends = compiled(features.fill_places), compiled(features.fill_ends)
whole_s, redone_s = compiled(features.whole_s), compiled(features.redone_s)


@compiled
def task_features(of: TaskColumns) -> Floats:
    """Return what the network sees of tasks: `features.task_features`, compiled."""
    x = np.empty((len(of.wait_s), FEATURES))
    fill_asked(of, x)
    fill_habits(of, x)
    return x


@compiled
def pair_features(of: PairColumns) -> Floats:
    """Return what the network sees of one task on each node: `features.pair_features`, compiled."""
    p = np.empty((len(of.run_s), PAIRS))
    fill_places(of, p)
    whole = whole_s(of.run_s, of.load_s)
    fill_ends(whole, redone_s(whole, of.hazard), p)
    return p


@compiled
def encode(weights: Weights, x: Floats) -> Floats:
    """Return the embeddings of tasks, (q, H), from their features, (q, T)."""
    q, inputs = x.shape
    width = len(weights.encode_bias)
    embedded = np.empty((q, width))
    for task in range(q):
        row = embedded[task]
        row[:] = weights.encode_bias
        for feature in range(inputs):
            value = x[task, feature]
            if value != 0.0:
                for unit in range(width):
                    row[unit] += value * weights.encode[feature, unit]
        for unit in range(width):
            row[unit] = max(row[unit], 0.0)
    return embedded


@compiled
def surroundings(weights: Weights, embedded: Floats, g: Floats) -> Floats:
    """Return what the pooled tasks and the whole add to each hidden unit of the task head: (H,)."""
    width = len(weights.bias)
    around = weights.bias.copy()
    for unit in range(width):
        mean = embedded[:, unit].mean()
        for other in range(width):
            around[other] += mean * weights.pooled[unit, other]
    for feature in range(len(g)):
        for unit in range(width):
            around[unit] += g[feature] * weights.context[feature, unit]
    return around


@compiled
def score_tasks(weights: Weights, x: Floats, g: Floats, embedded: Floats, around: Floats) -> Floats:
    """Return the score of each task: (q,)."""
    q, inputs = x.shape
    width, deep = len(around), np.any(weights.value != 0.0)
    scores, hidden, linear = np.empty(q), np.empty(width), _task_weights(weights, g)
    for task in range(q):
        total = 0.0
        if deep:
            hidden[:] = around
            for unit in range(width):
                value = embedded[task, unit]
                for other in range(width):
                    hidden[other] += value * weights.own[unit, other]
            for unit in range(width):
                total += max(hidden[unit], 0.0) * weights.value[unit]
        for feature in range(inputs):
            total += x[task, feature] * linear[feature]
        scores[task] = total
    return scores


@compiled
def _task_weights(weights: Weights, g: Floats) -> Floats:
    """Return what each task feature counts for in a context, (T,): `network.task_weights`."""
    linear, trust = weights.skip.copy(), weights.gate_bias.copy()
    for expert in range(len(trust)):
        for condition in range(len(g)):
            trust[expert] += weights.gate[expert, condition] * g[condition]
    for first in range(0, len(trust), EXPERTS):
        each = trust[first : first + EXPERTS]
        highest, total = each.max(), 0.0
        for expert in range(EXPERTS):
            each[expert] = np.exp(each[expert] - highest)
            total += each[expert]
        for expert in range(EXPERTS):
            each[expert] /= total * (len(trust) // EXPERTS)
    for expert in range(len(trust)):
        if trust[expert] > 0.0:
            for feature in range(len(linear)):
                linear[feature] += trust[expert] * weights.experts[expert, feature]
    return linear


@compiled
def score_nodes(weights: Weights, p: Floats, y: Floats, embedded: Floats, g: Floats) -> Floats:
    """Return the score of each of n nodes for one task: (n,).

    Args:
        weights: of the network.
        p: (n, P) features of the task on each node.
        y: (n, N) features of the nodes.
        embedded: (H,) the task's embedding.
        g: (G,) features of the whole.
    """
    around, linear = _around_nodes(weights, embedded, g)
    width, deep = len(around), np.any(weights.pair_value != 0.0)
    nodes = _encode_nodes(weights, y if deep else y[:0])
    scores, hidden = np.empty(len(p)), np.empty(width)
    for row in range(len(p)):
        hidden[:] = around
        total = 0.0
        for feature in range(y.shape[1]):
            total += y[row, feature] * weights.node_skip[feature]
        for feature in range(p.shape[1]):
            value = p[row, feature]
            total += value * linear[feature]
            if deep:
                for unit in range(width):
                    hidden[unit] += value * weights.pair[feature, unit]
        if deep:
            for unit in range(nodes.shape[1]):
                for other in range(width):
                    hidden[other] += nodes[row, unit] * weights.at[unit, other]
            for unit in range(width):
                total += max(hidden[unit], 0.0) * weights.pair_value[unit]
        scores[row] = total
    return scores


@compiled
def _encode_nodes(weights: Weights, y: Floats) -> Floats:
    """Return the embeddings of nodes: (n, K)."""
    embedded = np.empty((len(y), len(weights.node_bias)))
    for row in range(len(y)):
        embedded[row] = weights.node_bias
        for feature in range(y.shape[1]):
            for unit in range(embedded.shape[1]):
                embedded[row, unit] += y[row, feature] * weights.node[feature, unit]
        for unit in range(embedded.shape[1]):
            embedded[row, unit] = max(embedded[row, unit], 0.0)
    return embedded


@compiled
def _around_nodes(weights: Weights, embedded: Floats, g: Floats) -> tuple[Floats, Floats]:
    """Return what task and context add to each hidden unit of the node head, (H,), and its linear weights now, (P,)."""
    around, linear = weights.pair_bias.copy(), weights.pair_skip.copy()
    for unit in range(len(embedded)):
        for other in range(len(around)):
            around[other] += embedded[unit] * weights.of[unit, other]
    for condition in range(len(g)):
        for unit in range(len(around)):
            around[unit] += g[condition] * weights.around[condition, unit]
        for feature in range(len(linear)):
            linear[feature] += weights.pair_mix[feature, condition] * g[condition]
    return around, linear
