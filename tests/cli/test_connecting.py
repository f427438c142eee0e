"""What commands say while no hub answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.cli.connecting import connecting
from farlane.errors import Unavailable
from farlane.sdk.client import AsyncClient
from farlane.testing.running_hub import RunningHub


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path / "hub") as running:
        yield running


async def test_a_command_says_that_it_waits_for_a_hub_that_is_away(
    hub: RunningHub, capsys: pytest.CaptureFixture[str]
) -> None:
    url = hub.url
    client = AsyncClient(url, hub.token("client").text(), connect_timeout_s=0.5)
    await hub.stop()
    with pytest.raises(Unavailable, match="no hub answered"):
        async with connecting(client, quiet_s=0.01):
            pass
    assert f"no hub answers at {url} yet; waiting for it" in capsys.readouterr().err


async def test_a_hub_that_answers_needs_no_word(hub: RunningHub, capsys: pytest.CaptureFixture[str]) -> None:
    async with connecting(AsyncClient(hub.url, hub.token("client").text())):
        pass
    assert capsys.readouterr().err == ""
