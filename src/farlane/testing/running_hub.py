"""A running hub: the real service on loopback with its own keys and tokens, stopped and started as a test likes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import grpc

from farlane.domain.jobs import JobSpec
from farlane.domain.resources import Resources
from farlane.hub.credentials import Credentials
from farlane.hub.deciding.opening import policy_of
from farlane.hub.deployments.catalog_versions import CatalogVersions
from farlane.hub.deployments.versions import Versions
from farlane.hub.hub import Hub
from farlane.hub.service import HubService
from farlane.hub.settings import HubSettings
from farlane.hub.store.port import Store
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.kit.clock import SystemClock
from farlane.kit.keys import random_secret, server_certificate
from farlane.models.repository import Repository
from farlane.models.store_disk import DiskStore
from farlane.sdk.client import AsyncClient
from farlane.sdk.jobs import JobHandle
from farlane.testing.builders import a_job, a_node
from farlane.testing.scripted_node import Leased, ScriptedNode
from farlane.wire.channel import open_channel
from farlane.wire.serving import Identity
from farlane.wire.tokens import Role, Token

BALLAST_BYTES = 64 << 10
SMALL = Resources(250, 1 << 20, 1 << 20)


class RunningHub:
    """A hub's service in this process, open inside `async with`.

    Args:
        directory: where everything is kept; the same one again is the same network.
        open_store: opens the store at each start; None: SQLite in the directory.
        settings: changes to the hub's settings.
        versions: says which version a model's name means; None: it deploys no models.
        models: the repository whose models it deploys, and that versions are pushed to; None: `versions` alone counts.
    """

    def __init__(
        self,
        directory: Path,
        *,
        open_store: Callable[[], Store] | None = None,
        settings: HubSettings | None = None,
        versions: Versions | None = None,
        models: Repository | None = None,
    ) -> None:
        self.directory = directory
        self.settings = replace(settings or HubSettings(), directory=directory, port=0)
        self.certificate = server_certificate(directory / "tls", ["127.0.0.1", "localhost"])
        self.store_path = directory / "store.db"
        self.models = models
        self._open_store = open_store or self._sqlite
        self._credentials = Credentials(directory / "credentials.json")
        own = CatalogVersions(models, self._credentials.owners) if models is not None else None
        self._versions = versions or own
        self._running = contextlib.AsyncExitStack()
        self._tokens: dict[tuple[str, str, str], Token] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start, on the same port as before if there was one."""
        self.store = self._open_store()
        certificate = self.certificate.certificate_pem, self.certificate.key_pem
        self.service = HubService(
            self.settings, self.store, DiskStore(self.directory / "blobs"), policy_of(self.settings),
            SystemClock(), certificate, self._credentials.lookup,
        )  # fmt: skip
        if self._versions is not None:
            self.service.serve_models(self._versions, self.models)
        await self._running.enter_async_context(self.service.running())
        self.settings = replace(self.settings, port=self.service.port)

    async def stop(self) -> None:
        """Stop in good order; the files stay."""
        await self._running.aclose()

    async def restart(self) -> None:
        """Stop and start again."""
        await self.stop()
        await self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.settings.port}"

    @property
    def hub(self) -> Hub:
        """The hub in force."""
        return self.service.hub

    def token(
        self,
        role: Role = "client",
        publisher: str = "lab/ada",
        organisation: str = "lab",
        *,
        admin: bool = False,
        owner: bool = False,
    ) -> Token:
        """Return a token that the hub knows."""
        who = role, publisher if role == "client" else "", organisation
        if who not in self._tokens:
            secret = random_secret()
            self._credentials.add(secret, role, organisation, who[1], admin=admin, owner=owner)
            self._tokens[who] = Token(role, organisation, who[1], self.certificate.spki_sha256, secret)
        return self._tokens[who]

    def lookup(self, digest: bytes) -> Identity | None:
        """Return who a token belongs to, by the digest of its secret."""
        return self._credentials.lookup(digest)

    def client(
        self,
        publisher: str = "lab/ada",
        organisation: str = "lab",
        *,
        admin: bool = False,
        owner: bool = False,
    ) -> AsyncClient:
        """Return a client to open; `admin` and `owner` count the first time that somebody is named."""
        token = self.token("client", publisher, organisation, admin=admin, owner=owner)
        return AsyncClient(self.url, token.text(), random=Random(1))

    def node(
        self, name: str = "n1", *, cpu: int = 4000, organisation: str = "lab", held: Sequence[Leased] = ()
    ) -> ScriptedNode:
        """Return a scripted node to open."""
        token = self.token("node", "", organisation)
        return ScriptedNode(self.url, token, a_node(name, cpu=cpu), held=held)

    @contextlib.asynccontextmanager
    async def channel(self, token: Token | None = None) -> AsyncIterator[grpc.aio.Channel]:
        """Open a bare channel, for messages that no client of ours would send."""
        channel = await open_channel(self.url, token or self.token())
        try:
            yield channel
        finally:
            await channel.close()

    def _sqlite(self) -> Store:
        return SqliteStore(self.store_path, ballast_bytes=BALLAST_BYTES)


async def submit(
    client: AsyncClient, payloads: Iterable[bytes], key: str | None = None, **spec: object
) -> JobHandle:
    """Submit a job of a function that scripted nodes never look at."""
    return await client.submit(small_job(**spec), payloads, key=key)


def small_job(**changes: object) -> JobSpec:
    """Return a job of which sixteen tasks fit a node of four cores."""
    return a_job(**({"resources": SMALL} | changes))
