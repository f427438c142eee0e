"""A fake hub over real TLS, clients of it, and waiting with a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

import farlane
from farlane.sdk.client import AsyncClient
from farlane.sdk.facade import Client
from farlane.testing.fake_hub import FakeHub

Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A running fake hub."""
    with FakeHub() as running:
        yield running


@pytest.fixture
def client(hub: FakeHub) -> Iterator[Client]:
    """A synchronous client of it."""
    with Client(hub.url, hub.token, random=random.Random(1)) as connected:
        yield connected


@pytest.fixture
async def aclient(hub: FakeHub) -> AsyncIterator[AsyncClient]:
    """An asyncio client of it, on the test's own loop."""
    async with AsyncClient(hub.url, hub.token, random=random.Random(1)) as connected:
        yield connected


@pytest.fixture
def app(client: Client) -> farlane.App:
    """An app on the synchronous client."""
    return farlane.App("test", client)


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a condition holds, for at most ten seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true within 10 s"
            time.sleep(0.005)

    return wait
