"""Deployments as a client sees them: serve a model, scale it, look at it, end it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farlane.domain.deployments import Deployment
from farlane.sdk.connection import Connection
from farlane.sdk.values import Quote, quote_from_wire
from farlane.wire.deployments import DeploymentStatus, deployment_to_wire, status_from_wire
from farlane.wire.v1 import deployment_pb2
from farlane.wire.v1.deployment_pb2_grpc import DeploymentServiceStub

HOURS_OF_A_TERM = 24
"""A replica's task, which a quote is of, lasts a day at most; another one takes its place."""


@dataclass(frozen=True, slots=True)
class DeploymentQuote:
    """What serving a model may cost. quote: of one replica for a day; version: CID; replicas: at most."""

    quote: Quote
    version: str
    replicas: int

    @property
    def hourly_upper_bound(self) -> int:
        """The most that one replica costs an hour, in nano-credits, rounded up."""
        return -(-self.quote.upper_bound // HOURS_OF_A_TERM)


class DeploymentClient:
    """Deploys on the hub behind a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def deploy(self, wanted: Deployment) -> DeploymentStatus:
        """Deploy a model, or change what is deployed under that name; returns once the hub keeps it.

        Raises:
            InvalidInput: it could never work.
            NotFound: no such model, version or alias.
            PermissionRefused: the name is somebody else's.
        """
        request = deployment_pb2.DeployRequest(deployment=deployment_to_wire(wanted))
        return status_from_wire(await self._call("Deploy", request, "deploying"))

    async def quote(self, wanted: Deployment) -> DeploymentQuote:
        """Return what it may cost; nothing is deployed. Raises as `deploy`."""
        request = deployment_pb2.DeployRequest(deployment=deployment_to_wire(wanted))
        reply = await self._call("QuoteDeployment", request, "asking for a quote")
        return DeploymentQuote(quote_from_wire(reply.quote), reply.version, reply.replicas)

    async def list(self, name: str = "") -> list[DeploymentStatus]:
        """Return this organisation's deployments and those shared with it, or those of one name.

        Raises:
            NotFound: none has that name.
        """
        request = deployment_pb2.ListDeploymentsRequest(name=name)
        reply = await self._call("ListDeployments", request, "listing deployments")
        return [status_from_wire(each) for each in reply.deployments]

    async def scale(self, name: str, min_replicas: int, max_replicas: int) -> DeploymentStatus:
        """Change how many replicas there may be.

        Raises:
            NotFound: there is none.
            InvalidInput: bounds that cannot be.
            PermissionRefused: it is somebody else's.
        """
        request = deployment_pb2.ScaleRequest(
            name=name, min_replicas=max(0, min_replicas), max_replicas=max(0, max_replicas)
        )
        return status_from_wire(await self._call("Scale", request, "scaling"))

    async def undeploy(self, name: str) -> DeploymentStatus:
        """End a deployment; its replicas answer what they have.

        Raises:
            NotFound: there is none.
            PermissionRefused: it is somebody else's.
        """
        request = deployment_pb2.UndeployRequest(name=name)
        return status_from_wire(await self._call("Undeploy", request, "undeploying"))

    async def _call(self, method: str, request: Any, doing: str) -> Any:
        return await self._connection.call(method, request, doing, stub=DeploymentServiceStub)
