"""Who may call what: every call of every service wants a token of its role, and nobody reaches another's job."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from farlane.domain.ids import JobId, NodeId
from farlane.errors import (
    ConnectionLost,
    FarlaneError,
    InvalidInput,
    NotFound,
    PermissionRefused,
    Unauthenticated,
    WrongHub,
)
from farlane.kit.keys import random_secret
from farlane.sdk.client import AsyncClient
from farlane.testing.builders import a_node
from farlane.testing.running_hub import RunningHub, small_job, submit
from farlane.testing.scripted_client import ScriptedClient
from farlane.testing.scripted_node import ScriptedNode
from farlane.wire.status import from_rpc_error
from farlane.wire.tokens import Token
from farlane.wire.v1 import blob_pb2, client_pb2, node_pb2

SERVICES = {
    "NodeService": (node_pb2, "client"),
    "ClientService": (client_pb2, "node"),
    "BlobService": (blob_pb2, None),
}
"""Service -> (module, a role that may not call it)."""
CALLS = [
    (service, method.name)
    for service, (module, _) in SERVICES.items()
    for method in module.DESCRIPTOR.services_by_name[service].methods
]
ABOUT_A_JOB = [
    method.name
    for method in client_pb2.DESCRIPTOR.services_by_name["ClientService"].methods
    if "job" in method.input_type.fields_by_name
]
"""Plain calls that name a job; a new one is tested as soon as it is in the protocol."""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path) as running:
        yield running


async def call_with_nothing(channel: grpc.aio.Channel, service: str, method: str) -> FarlaneError:
    """Make a call with one empty message and return what the hub answers: it never gets further than the door.

    A stream that is refused while its request is on the way loses its status about once in a hundred times, to an error
    of gRPC's own: it is tried again.
    """
    for _ in range(4):
        call = channel.stream_stream(f"/farlane.v1.{service}/{method}")(iter([b""]), timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        error = from_rpc_error(caught.value, method)
        if not isinstance(error, ConnectionLost):
            break
    return error


def test_the_calls_are_all_here() -> None:
    assert len(CALLS) >= 16
    assert {"GetJob", "ListTasks", "Explain", "StopJob", "RetryJob", "FollowLogs"} <= set(ABOUT_A_JOB)


@pytest.mark.parametrize("secret", ["unknown", "of a node", "of a client"])
async def test_every_call_wants_a_token_of_its_role(hub: RunningHub, secret: str) -> None:
    pin = hub.certificate.spki_sha256
    tokens = {
        "unknown": Token("client", "lab", "lab/ada", pin, random_secret()),
        "of a node": hub.token("node"),
        "of a client": hub.token("client"),
    }
    async with hub.channel(tokens[secret]) as channel:
        for service, method in CALLS:
            barred = SERVICES[service][1]
            if secret == "unknown":
                assert isinstance(await call_with_nothing(channel, service, method), Unauthenticated), method
            elif barred is not None and secret == f"of a {barred}":
                assert isinstance(await call_with_nothing(channel, service, method), PermissionRefused), (
                    method
                )


async def test_a_call_without_any_token_is_refused(hub: RunningHub) -> None:
    credentials = grpc.ssl_channel_credentials(hub.certificate.certificate_pem)
    target = f"localhost:{hub.settings.port}"
    async with grpc.aio.secure_channel(target, credentials) as channel:
        for service, method in CALLS:
            error = await call_with_nothing(channel, service, method)
            assert isinstance(error, Unauthenticated), method
            assert "farlane up" in error.message or "--token" in error.message


async def test_a_service_that_is_not_there_is_for_nobody(hub: RunningHub) -> None:
    async with hub.channel() as channel:
        error = await call_with_nothing(channel, "AdminService", "Reboot")
        assert isinstance(error, PermissionRefused)


async def test_a_withdrawn_or_foreign_token_ends_a_client_at_once(hub: RunningHub) -> None:
    foreign = Token("client", "lab", "lab/ada", hub.certificate.spki_sha256, random_secret())
    with pytest.raises(Unauthenticated, match="does not know the token"):
        async with AsyncClient(hub.url, foreign.text()):
            pytest.fail("it was let in")


async def test_a_token_of_another_hub_sends_nothing_to_this_one(hub: RunningHub, tmp_path: Path) -> None:
    known = hub.token()
    other_key = Token("client", "lab", "lab/ada", b"\x07" * 32, known.secret)
    with pytest.raises(WrongHub, match="Nothing was sent"):
        async with AsyncClient(hub.url, other_key.text()):
            pytest.fail("it was let in")
    node_key = Token("node", "lab", "", b"\x07" * 32, hub.token("node").secret)
    with pytest.raises(WrongHub):
        async with ScriptedNode(hub.url, node_key, a_node()):
            pytest.fail("it was let in")


@pytest.mark.parametrize("ended", [False, True], ids=["open", "ended"])
async def test_nobody_reaches_another_publishers_job(hub: RunningHub, ended: bool) -> None:
    async with hub.client("lab/ada") as ada, hub.client("lab/bob") as bob:
        mine = await submit(ada, [b"x"], key="the key")
        if ended:
            await mine.stop()
        requests = {
            method.name: method.input_type
            for method in client_pb2.DESCRIPTOR.services_by_name["ClientService"].methods
        }
        for name in ABOUT_A_JOB:
            request = getattr(client_pb2, requests[name].name)(job=mine.job)
            error = await refusal_of(bob, name, request)
            assert isinstance(error, PermissionRefused), name
            assert "another publisher" in error.message
        assert await bob.jobs(all=True) == []
        assert [job.job for job in await ada.jobs(all=True)] == [mine.job]
        assert (await mine.status()).total == 1


async def refusal_of(client: AsyncClient, method: str, request: object) -> FarlaneError:
    try:
        if method == "FollowLogs":
            async for _ in client.connection.stream(method, request, method):
                pytest.fail("it was shown something")
        else:
            await client.connection.call(method, request, method)
    except FarlaneError as error:
        return error
    pytest.fail(f"{method} was answered")


@pytest.mark.parametrize("ended", [False, True], ids=["open", "ended"])
async def test_nobody_touches_another_publishers_job_on_a_stream(hub: RunningHub, ended: bool) -> None:
    async with hub.client("lab/ada") as ada:
        mine = await submit(ada, [b"x"])
        if ended:
            await mine.stop()
        async with ScriptedClient(hub.url, hub.token("client", "lab/bob")) as bob:
            with pytest.raises(PermissionRefused):
                await bob.add(mine.job, 1, [b"y"])
            with pytest.raises(PermissionRefused):
                await bob.ask(client_pb2.ClientMessage(seal=client_pb2.SealJob(job=mine.job)))
            await bob.watch(mine.job)
            with pytest.raises(PermissionRefused):
                await bob.results()
            # The stream itself goes on, and so does the job.
            assert (await bob.open(small_job(), "the key")).job != mine.job
        assert (await mine.status()).total == 1


async def test_a_publisher_is_who_the_token_says_whatever_the_submission_claims(hub: RunningHub) -> None:
    async with hub.client("lab/ada") as ada:
        job = await submit(ada, [b"x"], publisher="lab/bob", organisation="elsewhere")
        assert (await job.status()).publisher == "lab/ada"
        spec = hub.store.job_spec(job.job)
        assert spec is not None
        assert (spec.publisher, spec.organisation) == ("lab/ada", "lab")


async def test_one_key_is_two_jobs_for_two_publishers(hub: RunningHub) -> None:
    async with hub.client("lab/ada") as ada, hub.client("lab/bob") as bob:
        assert (await submit(ada, [b"x"], key="k")).job != (await submit(bob, [b"x"], key="k")).job


async def test_a_job_that_does_not_exist_is_not_found(hub: RunningHub) -> None:
    async with hub.client() as ada:
        with pytest.raises(NotFound, match="farlane ps --all"):
            await ada.job(JobId(99)).status()


async def test_only_its_own_organisation_drains_a_node(hub: RunningHub) -> None:
    async with hub.node("n1", organisation="lab"), hub.client("else/eve", "else") as eve, hub.client() as ada:
        with pytest.raises(PermissionRefused, match="only its own organisation"):
            await eve.drain(NodeId("n1"))
        assert [node.state for node in await ada.nodes()] == ["online"]
        await ada.drain(NodeId("n1"))
        assert [node.state for node in await ada.nodes()] == ["draining"]


async def test_a_node_belongs_to_the_organisation_of_its_token(hub: RunningHub) -> None:
    node = ScriptedNode(hub.url, hub.token("node", organisation="lab"), a_node(organisation="elsewhere"))
    async with node, hub.client() as ada:
        assert [each.spec.organisation for each in await ada.nodes()] == ["lab"]


async def test_a_copied_node_identity_without_its_secret_is_refused(hub: RunningHub) -> None:
    token = hub.token("node")
    async with hub.node("n1") as node:
        with pytest.raises(PermissionRefused, match="another machine"):
            async with ScriptedNode(hub.url, token, a_node("n1"), secret=b"another secret of a node"):
                pytest.fail("it was let in")
        with pytest.raises(InvalidInput, match="at least 16"):
            async with ScriptedNode(hub.url, token, a_node("n2"), secret=b"short"):
                pytest.fail("it was let in")
        await node.beat()  # the rightful one stays


async def test_health_is_for_everybody(hub: RunningHub) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    credentials = grpc.ssl_channel_credentials(hub.certificate.certificate_pem)
    async with contextlib.AsyncExitStack() as stack:
        channel = await stack.enter_async_context(
            grpc.aio.secure_channel(f"localhost:{hub.settings.port}", credentials)
        )
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", "x" * 101, "a b"])
async def test_a_backup_stays_in_its_directory(hub: RunningHub, name: str) -> None:
    async with hub.client() as ada:
        with pytest.raises(InvalidInput, match="backup"):
            await ada.backup(name)
    assert not (hub.directory / "backups").exists()
