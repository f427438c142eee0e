"""DeploymentService: what publishers deploy, change, look at and end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from farlane.domain.deployments import Deployment, check_deployment
from farlane.domain.ids import NodeId
from farlane.errors import PermissionRefused
from farlane.hub.deployments.desk import Deployments
from farlane.hub.deployments.state import Record
from farlane.hub.deployments.status import deployment_status
from farlane.hub.grpc_api.answering import Context, answered
from farlane.hub.hub import Hub
from farlane.hub.quoting import quote_job
from farlane.hub.reactor.capped import notices
from farlane.kit.clock import Clock
from farlane.wire import limits
from farlane.wire.deployments import MAX_DEPLOYMENT_NAME_CHARS, deployment_from_wire, status_to_wire
from farlane.wire.serving import current_identity
from farlane.wire.v1 import deployment_pb2, deployment_pb2_grpc


class DeploymentService(deployment_pb2_grpc.DeploymentServiceServicer):
    """Serves publishers.

    Args:
        hub: returns the hub in force.
        deployments: what it serves.
        clock: the router's.
    """

    def __init__(self, hub: Callable[[], Hub], deployments: Deployments, clock: Clock) -> None:
        self._hub, self._deployments, self._clock = hub, deployments, clock

    @answered
    async def Deploy(
        self, request: deployment_pb2.DeployRequest, context: Context
    ) -> deployment_pb2.DeploymentStatus:
        """Deploy a model, or change what is deployed; returns once that is kept."""
        return self._tell(self._deployments.set(_wanted(request)))

    @answered
    async def QuoteDeployment(
        self, request: deployment_pb2.DeployRequest, context: Context
    ) -> deployment_pb2.DeploymentQuote:
        """Price one replica for its term without deploying anything."""
        wanted, hub = _wanted(request), self._hub()
        check_deployment(wanted)
        version = self._deployments.version_of(wanted)
        spec = self._deployments.replica_job(wanted, version)
        quote = quote_job(hub.reactor.state, spec, 1, 0)
        quote.custody = hub.custody(wanted.organisation)
        quote.notices.extend(notices(hub.reactor.state, spec))
        return deployment_pb2.DeploymentQuote(
            quote=quote, version=version, replicas=wanted.scale.max_replicas
        )

    @answered
    async def ListDeployments(
        self, request: deployment_pb2.ListDeploymentsRequest, context: Context
    ) -> deployment_pb2.ListDeploymentsReply:
        """List the deployments of the caller's organisation and those shared with it, or one by its name."""
        organisation = current_identity().organisation
        found = [
            record
            for record in self._deployments.records()
            if organisation in (record.deployment.organisation, *record.deployment.shared_with)
            and request.name in ("", record.deployment.name)
        ]
        if request.name and not found:
            self._deployments.record(f"{organisation}/{request.name}")  # says that there is none
        found.sort(key=lambda record: (record.deployment.organisation != organisation, record.deployment.id))
        return deployment_pb2.ListDeploymentsReply(deployments=map(self._tell, found))

    @answered
    async def Scale(
        self, request: deployment_pb2.ScaleRequest, context: Context
    ) -> deployment_pb2.DeploymentStatus:
        """Change how many replicas there may be."""
        deployment = self._own(request.name).deployment
        scale = replace(
            deployment.scale, min_replicas=request.min_replicas, max_replicas=request.max_replicas
        )
        return self._tell(self._deployments.set(replace(deployment, scale=scale)))

    @answered
    async def Undeploy(
        self, request: deployment_pb2.UndeployRequest, context: Context
    ) -> deployment_pb2.DeploymentStatus:
        """End a deployment; its replicas answer what they have."""
        return self._tell(self._deployments.remove(self._own(request.name).deployment.id))

    def _own(self, name: str) -> Record:
        """Return a deployment that the caller may change.

        Raises:
            NotFound: their organisation has none of that name.
            PermissionRefused: it is somebody else's, and they are no administrator.
        """
        who = current_identity()
        limits.text("name of the deployment", name, MAX_DEPLOYMENT_NAME_CHARS, required=True)
        record = self._deployments.record(f"{who.organisation}/{name}")
        if record.deployment.publisher != who.publisher and not who.admin:
            raise PermissionRefused(
                f"{name!r} is deployed by {record.deployment.publisher}; only they and administrators of "
                f"{who.organisation} change it"
            )
        return record

    def _tell(self, record: Record) -> deployment_pb2.DeploymentStatus:
        route = self._deployments.route(record.deployment.id)
        return status_to_wire(deployment_status(record, route, self._clock.monotonic(), self._node_name))

    def _node_name(self, node: str) -> str:
        known = self._hub().reactor.state.nodes.get(NodeId(node))
        return node if known is None else known.spec.name


def _wanted(request: deployment_pb2.DeployRequest) -> Deployment:
    who = current_identity()
    return deployment_from_wire(request.deployment, who.organisation, who.publisher)
