"""Nodes: what a provider's machine says of itself when it joins."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.ids import NodeId
from farlane.domain.jobs import JobSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import Capacity

SERVES = "serve"
"""Label `serve=yes` of nodes that serve models; `serve.RUNTIME=yes` names each runtime they have."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node's description: identity, capacity, Python minor (`3.11`), labels and prices.

    organisation: whose machine it is; serves: organisations besides it whose work its owner trusts enough to run;
    recipient: by which key private models are encrypted for it, `rcpt-...`, empty where it reads none.
    """

    node: NodeId
    name: str
    organisation: str
    capacity: Capacity
    python: str
    platform: str
    rates: RateVector = RateVector()
    labels: tuple[tuple[str, str], ...] = ()
    serves: tuple[str, ...] = ()
    recipient: str = ""

    def runs_work_of(self, organisation: str) -> bool:
        """Tell whether the node runs an organisation's work."""
        return organisation == self.organisation or organisation in self.serves


def labels_wanted(spec: JobSpec) -> tuple[tuple[str, str], ...]:
    """Return the labels a job asks for; one that serves a model asks for its runtime, too."""
    if spec.serve is None:
        return spec.labels
    runtime = f"{SERVES}.{spec.serve.runtime}" if spec.serve.runtime else SERVES
    return (*spec.labels, (runtime, "yes"))


def advertised_labels(spec: NodeSpec) -> frozenset[tuple[str, str]]:
    """Return a node's labels with the built-in ones: `name`, `platform`, `python`."""
    built_in = (("name", spec.name), ("platform", spec.platform), ("python", spec.python))
    return frozenset((*spec.labels, *built_in))
