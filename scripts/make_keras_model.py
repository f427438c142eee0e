"""Make the small Keras model that farlane ships: it tells which of three spiral arms a point lies on.

    python scripts/make_keras_model.py src/farlane/demo/models/spiral/model.h5

The two hidden layers are trained in numpy, a few seconds, and put into a Keras model that is saved as HDF5.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 3
HIDDEN = 32
ARMS = 3
STEPS = 3000


def spiral_points(count: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (count, 2) float64 points within the unit circle and (count,) the arm of each."""
    arms = rng.integers(ARMS, size=count)
    radius = rng.uniform(0.1, 1.0, count)
    angle = 4.0 * radius + arms * 2 * np.pi / ARMS + rng.normal(0, 0.12, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), arms


def forward(weights: list[NDArray[Any]], points: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the activations of each layer: two with tanh, the last with softmax."""
    first = np.tanh(points @ weights[0] + weights[1])
    second = np.tanh(first @ weights[2] + weights[3])
    scores = second @ weights[4] + weights[5]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return [points, first, second, scores / scores.sum(axis=1, keepdims=True)]


def gradients(weights: list[NDArray[Any]], points: NDArray[Any], arms: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the gradient of the mean cross-entropy for each weight, by the chain rule."""
    layers = forward(weights, points)
    error = (layers[3] - np.eye(ARMS)[arms]) / len(points)
    found: list[NDArray[Any]] = []
    for index in (2, 1, 0):
        found[:0] = [layers[index].T @ error, error.sum(axis=0)]
        error = error @ weights[2 * index].T * (1 - layers[index] ** 2)
    return found


def trained(rng: np.random.Generator) -> list[NDArray[Any]]:
    """Train with Adam. Source: Kingma and Ba, "Adam" (2015), algorithm 1."""
    points, arms = spiral_points(2000, rng)
    sizes = [(2, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, ARMS)]
    weights: list[NDArray[Any]] = []
    for rows, columns in sizes:
        weights += [rng.normal(0, rows**-0.5, (rows, columns)), np.zeros(columns)]
    first = [np.zeros_like(weight) for weight in weights]
    second = [np.zeros_like(weight) for weight in weights]
    for step in range(1, STEPS + 1):
        for index, gradient in enumerate(gradients(weights, points, arms)):
            first[index] = 0.9 * first[index] + 0.1 * gradient
            second[index] = 0.999 * second[index] + 0.001 * gradient**2
            mean, square = first[index] / (1 - 0.9**step), second[index] / (1 - 0.999**step)
            weights[index] -= 0.01 * mean / (np.sqrt(square) + 1e-8)
    return weights


def main(argv: list[str] | None = None) -> int:
    """Train, check on points never seen, and save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args(argv)
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    rng = np.random.default_rng(SEED)
    weights = trained(rng)
    points, arms = spiral_points(1000, rng)
    right = float((forward(weights, points)[3].argmax(axis=1) == arms).mean())
    layers = [
        keras.Input((2,), name="point"),
        keras.layers.Dense(HIDDEN, activation="tanh"),
        keras.layers.Dense(HIDDEN, activation="tanh"),
        keras.layers.Dense(ARMS, activation="softmax", name="arm"),
    ]
    model = keras.Sequential(layers)
    model.set_weights([weight.astype(np.float32) for weight in weights])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    model.save(arguments.output)
    print(f"{right:.1%} of unseen points right; {arguments.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
