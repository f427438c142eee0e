"""Admission by key on a real chain (anvil): who is let in by a hub, and what does not help a stranger."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from farlane.app.admitting import ask_hub, find_hub
from farlane.errors import Exhausted, FarlaneError, NotFound, PermissionRefused, Unauthenticated
from farlane.hub import admission as rules
from farlane.hub.admission import Admission, Challenge
from farlane.hub.grpc_api.admission_service import AdmissionService
from farlane.kit.clock import ManualClock
from farlane.kit.keys import ServerCertificate, server_certificate
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.admission import sign_admission
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy
from farlane.ledger.network_registry import NO_DIGEST, EntryKind, Listing, NetworkRegistry
from farlane.ledger.rpc import RpcClient
from farlane.wire.channel import SERVER_OPTIONS, server_credentials
from farlane.wire.serving import TokenAuthenticator
from farlane.wire.tokens import secret_digest
from farlane.wire.v1 import admission_pb2_grpc

pytestmark = pytest.mark.real

FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)


@pytest.fixture
async def rpc(anvil_url: str) -> AsyncIterator[RpcClient]:
    async with RpcClient(anvil_url) as client:
        yield client


@pytest.fixture
async def deployment(rpc: RpcClient) -> Deployment:
    return await deploy(rpc, FAUCET, DeploymentPlan("aa" * 16, FAUCET.address))


@pytest.fixture
def registry(rpc: RpcClient, deployment: Deployment) -> NetworkRegistry:
    return NetworkRegistry(rpc, deployment)


@pytest.fixture
def certificate(tmp_path: Path) -> ServerCertificate:
    return server_certificate(tmp_path / "tls", ["127.0.0.1"])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000.0)


@pytest.fixture
def admission(registry: NetworkRegistry, certificate: ServerCertificate, clock: ManualClock) -> Admission:
    return Admission(registry, certificate.spki_sha256, clock)


@pytest.fixture
async def hub(
    registry: NetworkRegistry, admission: Admission, certificate: ServerCertificate
) -> AsyncIterator[None]:
    server = grpc.aio.server(interceptors=[TokenAuthenticator(admission.lookup)], options=SERVER_OPTIONS)
    admission_pb2_grpc.add_AdmissionServiceServicer_to_server(AdmissionService(admission), server)
    credentials = server_credentials(certificate.certificate_pem, certificate.key_pem)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    listing = Listing(f"https://127.0.0.1:{port}", certificate.spki_sha256)
    await registry.register(FAUCET, EntryKind.HUB, PrivateKey.generate(), listing)
    yield
    await server.stop(0)


async def registered(registry: NetworkRegistry) -> PrivateKey:
    key = PrivateKey.generate()
    await registry.register(FAUCET, EntryKind.NODE, key, Listing("", NO_DIGEST))
    return key


@pytest.mark.usefixtures("hub")
async def test_a_registered_key_is_let_in_under_its_operators_name(
    anvil_url: str,
    deployment: Deployment,
    registry: NetworkRegistry,
    admission: Admission,
    clock: ManualClock,
) -> None:
    key = await registered(registry)
    found = await find_hub(anvil_url, deployment, key)
    assert (found.token.role, found.token.organisation) == ("node", FAUCET.address)
    digest = secret_digest(found.token.secret)
    assert admission.lookup(digest) is not None
    again = await find_hub(anvil_url, deployment, key)
    assert admission.lookup(digest) is None  # one credential for each key
    clock.advance(rules.LASTS_S + 1)
    assert admission.lookup(secret_digest(again.token.secret)) is None


@pytest.mark.usefixtures("hub")
async def test_an_unknown_or_retired_key_is_not_let_in(
    anvil_url: str, deployment: Deployment, registry: NetworkRegistry
) -> None:
    with pytest.raises(PermissionRefused, match="stands in no registry"):
        await find_hub(anvil_url, deployment, PrivateKey.generate())
    key = await registered(registry)
    await registry.retire(FAUCET, key.address)
    with pytest.raises(PermissionRefused, match="retired"):
        await find_hub(anvil_url, deployment, key)


async def test_a_key_stays_in_as_long_as_it_stands_in_the_registry(
    registry: NetworkRegistry, admission: Admission, certificate: ServerCertificate, clock: ManualClock
) -> None:
    digests = []
    keys = [await registered(registry) for _ in range(2)]
    for key in keys:
        asked = admission.challenge(key.address)
        answer = sign_admission(registry.domain, key, certificate.spki_sha256, asked.nonce, asked.expires)
        digests.append(secret_digest((await admission.admit(key.address, asked, answer))[0]))
    await registry.retire(FAUCET, keys[1].address)
    clock.advance(rules.LASTS_S - 1)
    await admission.recheck()
    clock.advance(2)
    assert [admission.lookup(digest) is not None for digest in digests] == [True, False]


@pytest.mark.usefixtures("hub")
async def test_a_hub_with_another_tls_key_is_not_asked(
    deployment: Deployment, registry: NetworkRegistry
) -> None:
    (entry,) = [one async for one in registry.entries(EntryKind.HUB)]
    forged = dataclasses.replace(entry, listing=dataclasses.replace(entry.listing, tls_key_hash=b"\1" * 32))
    with pytest.raises(FarlaneError, match="sha256"):
        await ask_hub(forged, deployment, await registered(registry))


async def test_no_hub_is_said(anvil_url: str, deployment: Deployment) -> None:
    with pytest.raises(NotFound, match="no hub is registered"):
        await find_hub(anvil_url, deployment, PrivateKey.generate())


async def test_answers_that_prove_nothing_are_refused(
    registry: NetworkRegistry, admission: Admission, certificate: ServerCertificate, clock: ManualClock
) -> None:
    key, pin = await registered(registry), certificate.spki_sha256
    asked = admission.challenge(key.address)

    def signed(challenge: Challenge, by: PrivateKey = key, hub: bytes = pin) -> bytes:
        return sign_admission(registry.domain, by, hub, challenge.nonce, challenge.expires)

    with pytest.raises(FarlaneError, match="signed by"):  # another key's
        await admission.admit(key.address, asked, signed(asked, PrivateKey.generate()))
    with pytest.raises(FarlaneError, match="signed by"):  # meant for another hub, which relays it
        await admission.admit(key.address, asked, signed(asked, hub=b"\2" * 32))
    own = Challenge(b"\3" * 32, asked.expires)
    with pytest.raises(Unauthenticated, match="has not given"):
        await admission.admit(key.address, own, signed(own))
    later = Challenge(asked.nonce, asked.expires + 1000)
    with pytest.raises(Unauthenticated, match="has not given"):
        await admission.admit(key.address, later, signed(later))
    clock.advance(rules.CHALLENGE_S + 1)
    with pytest.raises(Unauthenticated, match="expired"):
        await admission.admit(key.address, asked, signed(asked))


async def test_strangers_together_get_only_so_many_calls(admission: Admission, clock: ManualClock) -> None:
    key = PrivateKey.generate().address
    for _ in range(int(rules.BURST)):
        admission.challenge(key)
    with pytest.raises(Exhausted, match="too many keys"):
        admission.challenge(key)
    clock.advance(1.0)
    for _ in range(int(rules.CALLS_PER_S)):
        admission.challenge(key)
    with pytest.raises(Exhausted):
        admission.challenge(key)
