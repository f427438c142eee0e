"""ReplicaService: the streams over which nodes answer the requests of served models."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

import grpc

from farlane.domain.ids import NodeId, TaskId, job_of, task_text
from farlane.domain.served import Served
from farlane.errors import Conflict, ConnectionLost, FarlaneError, InvalidInput, StaleFence
from farlane.hub.deployments.desk import Deployments
from farlane.hub.deployments.exchanges import WINDOW_BYTES
from farlane.hub.deployments.replica_session import ReplicaSession
from farlane.hub.hub import Hub
from farlane.hub.node_proof import proven_node
from farlane.kit.tasks import TaskSupervisor
from farlane.wire.inference import description_from_wire
from farlane.wire.outbox import Outbox
from farlane.wire.serving import current_identity
from farlane.wire.status import abort
from farlane.wire.stream import pump, received
from farlane.wire.v1 import serving_pb2, serving_pb2_grpc
from farlane.wire.versions import check_peer, this_version

log = logging.getLogger(__name__)
HELLO_S = 15.0
DOING = "serving a replica"
Requests = AsyncIterator[serving_pb2.ReplicaMessage]
Context = grpc.aio.ServicerContext[serving_pb2.ReplicaMessage, serving_pb2.ReplicaCommand]


class ReplicaService(serving_pb2_grpc.ReplicaServiceServicer):
    """Serves the replicas of nodes. `hub` returns the hub in force."""

    def __init__(self, hub: Callable[[], Hub], deployments: Deployments) -> None:
        self._hub, self._deployments = hub, deployments

    async def Serve(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request_iterator: Requests, context: Context
    ) -> None:
        """Run one replica's stream."""
        try:
            await self._serve(request_iterator, context)
        except ConnectionLost as error:
            log.info("%s", error.message)  # nobody is left to be told
        except FarlaneError as error:
            await abort(context, error)

    async def _serve(self, requests: Requests, context: Context) -> None:
        outbox: Outbox[serving_pb2.ReplicaCommand] = Outbox(size_of=serving_pb2.ReplicaCommand.ByteSize)
        session = self._session(await _hello(requests), outbox)
        welcome = serving_pb2.ReplicaWelcome(version=this_version(), window_bytes=WINDOW_BYTES)
        outbox.put(serving_pb2.ReplicaCommand(welcome=welcome))
        if not self._deployments.connect(session):
            raise Conflict("nobody wants this replica any more; its job is being stopped")
        failed: list[FarlaneError] = []
        try:
            async with TaskSupervisor("replica stream") as tasks:
                tasks.start(_read(session, requests, failed), "replica stream reader")
                await pump(outbox, context, iter, doing=DOING)
        finally:
            self._deployments.disconnect(session)
        if failed:
            raise failed[0]

    def _session(
        self, hello: serving_pb2.ReplicaHello, outbox: Outbox[serving_pb2.ReplicaCommand]
    ) -> ReplicaSession:
        """Check who says hello and return its session.

        Raises:
            PermissionRefused: the node's secret or token is another's.
            StaleFence: the node does not hold that attempt.
        """
        check_peer(hello.version)
        hub, task = self._hub(), TaskId(hello.task)
        state = hub.reactor.state
        node = proven_node(state, hello.node, hello.secret, current_identity().organisation)
        lease, job = node.leases.get(task), state.jobs.get(job_of(task))
        if job is None or job.spec.serve is None or hello.epoch != state.epoch:
            raise StaleFence(f"{task_text(task)} is no replica of this hub (any more)")
        if lease is None or lease.attempt != hello.attempt:
            raise StaleFence(
                f"the node does not hold attempt {hello.attempt} of {task_text(task)} (any more)"
            )
        serve = job.spec.serve
        description = description_from_wire(hello.description)

        def on_served(served: Served) -> None:
            self._count(node.spec.node, task, lease.attempt, served)

        return ReplicaSession(
            job.id, serve.deployment, serve.version, node.spec.node, description, outbox, on_served
        )

    def _count(self, node: NodeId, task: TaskId, attempt: int, served: Served) -> None:
        """Book what a replica has answered, while its lease is in force."""
        hub = self._hub()
        known = hub.reactor.state.nodes.get(node)
        lease = None if known is None else known.leases.get(task)
        if lease is not None and lease.attempt == attempt:
            hub.books.served.add(task, attempt, served)


async def _hello(requests: Requests) -> serving_pb2.ReplicaHello:
    async for message in received(requests, doing=DOING, silence_s=HELLO_S):
        if message.WhichOneof("kind") == "hello":
            return message.hello
        break
    raise InvalidInput("the first message of a replica's stream must be its hello; upgrade the node")


async def _read(session: ReplicaSession, requests: Requests, failed: list[FarlaneError]) -> None:
    """Take what the replica says until its stream ends."""
    try:
        async for message in received(requests, doing=DOING):
            session.take(message)
    except FarlaneError as error:
        failed.append(error)
    finally:
        session.outbox.close()
