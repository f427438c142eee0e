"""Deployments on the wire: whole there and back, and what no hub may take refused by name."""

from __future__ import annotations

import pytest

from farlane.domain.deployments import Deployment, ScalePolicy, UpdatePolicy
from farlane.domain.ids import JobId
from farlane.domain.resources import GpuRequest, Resources
from farlane.errors import InvalidInput, InvalidJob
from farlane.wire.deployments import (
    DeploymentStatus,
    ReplicaStatus,
    deployment_from_wire,
    deployment_to_wire,
    status_from_wire,
    status_to_wire,
)
from farlane.wire.v1 import deployment_pb2

WHOLE = Deployment(
    name="chat", model="lab/writer@stable", organisation="lab", publisher="lab/ada", project="novel",
    resources=Resources(1500, 1 << 30, 1 << 20, GpuRequest(1, "A100", 0)), runtime="gguf",
    options=(("streams", "4"),), labels=(("zone", "north"),), max_price=0, shared_with=("club",),
    update=UpdatePolicy(max_surge=2, max_unavailable=1, canary_percent=10),
    scale=ScalePolicy(
        min_replicas=0, max_replicas=5, target_in_flight=8, target_p95_s=1.5, idle_s=60.0, cold_start_s=30.0
    ),
)  # fmt: skip


def test_a_deployment_and_how_it_stands_come_back_whole() -> None:
    assert deployment_from_wire(deployment_to_wire(WHOLE), "lab", "lab/ada") == WHOLE
    replica = ReplicaStatus(JobId(7), "v", "ready", "oak", 3, 9)
    status = DeploymentStatus(WHOLE, "ready", "", "v", "v", "", 1, (replica,), 10, 1, 100, 200, 2, 0.25)
    assert status_from_wire(status_to_wire(status)) == status


def test_who_it_belongs_to_is_not_taken_from_the_peer() -> None:
    found = deployment_from_wire(deployment_to_wire(WHOLE), "other", "other/bob")
    assert (found.id, found.publisher) == ("other/chat", "other/bob")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name of the deployment is missing"),
        ({"name": "n" * 101}, "101 characters"),
        ({"model": ""}, "model is missing"),
        ({"shared_with": ["o"] * 101}, "101 organisations"),
        ({"idle_s": float("nan")}, "idle_s is nan"),
        ({"max_price": 1 << 63}, "max_price"),
        ({"options": [{"key": "a", "value": "1"}] * 2}, "given twice"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    sent = {"name": "chat", "model": "m", "max_replicas": 1} | change
    with pytest.raises((InvalidInput, InvalidJob), match=message):
        deployment_from_wire(deployment_pb2.Deployment(**sent), "lab", "lab/ada")  # type: ignore[arg-type]


def test_a_number_that_cannot_travel_is_refused_before_it_does() -> None:
    with pytest.raises(InvalidInput, match="cannot be sent"):
        deployment_to_wire(Deployment(name="chat", model="m", scale=ScalePolicy(min_replicas=-1)))
