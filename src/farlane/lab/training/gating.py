"""Fitting the gate of the experts: which kind of queue is this, by what the context of its decisions looks like.

Multinomial logistic regression by Newton's method, with a small cost on the weights so that kinds that no plane keeps
apart do not drive them to infinity (Bishop 2006, section 4.3.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farlane.lab.training.folder import Row, State
from farlane.scheduler.learned import network
from farlane.scheduler.sim.world import Floats, Ints

UNTRUSTED = -100.0
"""Bias of an expert that is never to be asked."""
_NEWTON = 30
_CLOSE = 1e-8


class Gating:
    """The stage of a run; its only step fits.

    Args:
        contexts: of decisions, (d, G) for each expert, rows of equal weight within one.
        decay: what the gate's weights cost, squared, beside the mean cross-entropy.
        start: all weights, with experts in the first places.
    """

    def __init__(self, contexts: Sequence[Floats], decay: float, start: Floats) -> None:
        self._contexts, self._decay, self._result, self._steps = contexts, decay, start, 0

    @property
    def steps(self) -> int:
        """1 once it has fitted."""
        return self._steps

    @property
    def result(self) -> Floats:
        """All weights, with the gate put in."""
        return self._result

    def step(self) -> Row:
        """Fit; returns the cross-entropy in nats, and the share of decisions whose own expert has the most say."""
        gate, bias, entropy = fit_gate(self._contexts, self._decay)
        self._result = gated(self._result, gate, bias)
        self._steps = 1
        right = [
            float(((each @ gate.T + bias).argmax(axis=1) == row).mean())
            for row, each in enumerate(self._contexts)
        ]
        return {"loss": entropy, "least": entropy, "right": float(np.mean(right))}

    def end(self) -> None:
        """Do nothing."""

    def state(self) -> State:
        """Return what to keep."""
        return {"vector": self._result}

    def restore(self, state: State) -> None:
        """Come to a kept state."""
        self._result, self._steps = state["vector"], int(state["steps"])


def trusting(vector: Floats, expert: int) -> Floats:
    """Return weights under which one expert has all the say."""
    gate = np.zeros((1, network.SHAPES["gate"][1]))
    alone = gated(vector, gate, np.zeros(1))
    arrays = network.unflatten(alone)._asdict()
    arrays["gate_bias"] = np.full(network.EXPERTS, UNTRUSTED)
    arrays["gate_bias"][expert] = 0.0
    return np.asarray(network.flatten(network.Weights(**arrays)), np.float64)


def gated(vector: Floats, gate: Floats, bias: Floats) -> Floats:
    """Return weights with a gate of the first experts put in, (e, G) and (e,); the others are never asked."""
    arrays = network.unflatten(vector)._asdict()
    known = len(bias)
    arrays["gate"] = np.zeros(network.SHAPES["gate"])
    arrays["gate"][:known] = gate
    arrays["gate_bias"] = np.full(network.EXPERTS, UNTRUSTED)
    arrays["gate_bias"][:known] = bias
    return np.asarray(network.flatten(network.Weights(**arrays)), np.float64)


def fit_gate(contexts: Sequence[Floats], decay: float) -> tuple[Floats, Floats, float]:
    """Return the gate of e experts, (e, G), its bias, (e,), and the mean cross-entropy, in nats.

    Args:
        contexts: (d, G) for each expert, d its own; each expert counts the same.
        decay: weight of the squares, of features scaled to a deviation of 1.
    """
    x = np.concatenate(contexts)
    label: Ints = np.repeat(np.arange(len(contexts)), [len(each) for each in contexts]).astype(np.int64)
    share = np.concatenate([np.full(len(each), 1.0 / len(each)) for each in contexts]) / len(contexts)
    mean = share @ x
    deviation = np.sqrt(share @ (x - mean) ** 2)
    scale = np.where(deviation > 1e-9, 1.0 / np.maximum(deviation, 1e-9), 0.0)
    columns = np.column_stack([(x - mean) * scale, np.ones(len(x))])
    w = np.zeros((len(contexts), columns.shape[1]))
    for _ in range(_NEWTON):
        step = _newton_step(w, columns, label, share, decay)
        w -= step
        if float(np.abs(step).max()) < _CLOSE:
            break
    gate = w[:, :-1] * scale
    p = _softmax(columns @ w.T)
    entropy = -float(share @ np.log(p[np.arange(len(x)), label]))
    return gate, w[:, -1] - gate @ mean, entropy


def _newton_step(w: Floats, x: Floats, label: Ints, share: Floats, decay: float) -> Floats:
    """Return the Newton step of the regularised cross-entropy: (e, f)."""
    experts, width = w.shape
    p = _softmax(x @ w.T)
    error = p.copy()
    error[np.arange(len(x)), label] -= 1.0
    gradient = (error * share[:, None]).T @ x + decay * w
    hessian = np.empty((experts, width, experts, width))
    for one in range(experts):
        for other in range(experts):
            curve = share * p[:, one] * ((one == other) - p[:, other])
            hessian[one, :, other, :] = (x * curve[:, None]).T @ x
    size = experts * width
    whole = hessian.reshape(size, size) + decay * np.eye(size)
    step: Floats = np.linalg.solve(whole, gradient.ravel()).reshape(experts, width).astype(np.float64)
    return step


def _softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    share: Floats = raised / raised.sum(axis=1, keepdims=True)
    return share
