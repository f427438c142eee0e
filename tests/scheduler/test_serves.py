"""Nodes that serve other organisations: their owner names whom it trusts, and nobody else gets in."""

from __future__ import annotations

from dataclasses import replace

from farlane.node.machine.admission import refusal_reason
from farlane.scheduler.eligibility import ObstacleKind, first_obstacle
from farlane.testing.builders import a_job, a_node

OWN = replace(a_node(), organisation="works", serves=("lab", "institute"))


def test_a_node_runs_work_of_those_it_serves_and_of_its_own() -> None:
    for organisation in ("works", "lab", "institute"):
        job = replace(a_job(), organisation=organisation)
        assert first_obstacle(job, OWN) is None
        assert refusal_reason(OWN, job) is None


def test_others_are_told_whom_to_ask() -> None:
    job = replace(a_job(), organisation="strangers")
    found = first_obstacle(job, OWN)
    assert found is not None
    assert found.kind is ObstacleKind.ORGANISATION
    assert "institute" in found.message
    assert "node.serves" in found.fix
    # The node itself decides, whatever a hub sends it.
    assert "node.serves" in (refusal_reason(OWN, job) or "")
