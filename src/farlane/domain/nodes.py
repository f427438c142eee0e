"""Nodes: what a provider's machine says of itself when it joins."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.ids import NodeId
from farlane.domain.prices import RateVector
from farlane.domain.resources import Capacity


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node's description: identity, capacity, Python minor (`3.11`), labels and prices.

    `organisation` is whose work the node runs: without a sandbox it accepts only its own organisation's.
    """

    node: NodeId
    name: str
    organisation: str
    capacity: Capacity
    python: str
    platform: str
    rates: RateVector = RateVector()
    labels: tuple[tuple[str, str], ...] = ()


def advertised_labels(spec: NodeSpec) -> frozenset[tuple[str, str]]:
    """Return a node's labels with the built-in ones: `name`, `platform`, `python`."""
    built_in = (("name", spec.name), ("platform", spec.platform), ("python", spec.python))
    return frozenset((*spec.labels, *built_in))
