"""Backups of a running hub: a whole network of its own, in which what was leased before no longer counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from farlane.domain.ids import JobId
from farlane.errors import Conflict, NotFound
from farlane.hub.store.sqlite.backup import restore
from farlane.sdk.client import AsyncClient
from farlane.testing.running_hub import RunningHub, submit
from farlane.testing.scripted_node import Leased


def echo(lease: Leased) -> bytes:
    return lease.payload


async def test_a_backup_made_under_load_is_a_whole_network_of_its_own(tmp_path: Path) -> None:
    payloads = [b"%d" % index for index in range(3000)]
    async with RunningHub(tmp_path / "hub") as hub, hub.client() as ada, hub.node() as node:
        job = await submit(ada, payloads)
        await node.work(echo)
        reading = asyncio.create_task(collect(ada, job.job))
        made = await ada.backup("while-running.db")
        assert made.size_bytes == Path(made.path).stat().st_size > 0
        with pytest.raises(Conflict, match="never overwrites"):
            await ada.backup("while-running.db")
        assert len(await reading) == 3000
        late = await submit(ada, [b"after the backup"])
        network, epoch = hub.store.network, hub.store.epoch
    restored = tmp_path / "restored"
    restored.mkdir()
    restore(Path(made.path), restored / "store.db")
    async with RunningHub(restored) as hub, hub.client() as ada:
        assert hub.store.network == network
        assert hub.store.epoch > epoch
        async with hub.node() as node:
            await node.work(echo)
            results = await collect(ada, job.job)
        assert Counter(results) == Counter(payloads)
        status = await ada.job(job.job).status()
        assert (status.done, status.total) == (3000, 3000)
        with pytest.raises(NotFound):
            await ada.job(late.job).status()


async def collect(client: AsyncClient, job: JobId) -> list[bytes]:
    return [result.data async for result in client.job(job).results()]


async def test_results_from_before_a_restore_are_refused(tmp_path: Path) -> None:
    async with RunningHub(tmp_path / "hub") as hub, hub.client() as ada, hub.node() as node:
        job = await submit(ada, [b"x", b"y"])
        leases = await node.take(2)
        made = await ada.backup("b.db")
        # What happens now is undone by the restore, but the node remembers it.
        await node.accepted(await node.end(leases[:1], b"before"))
    restored = tmp_path / "restored"
    restored.mkdir()
    restore(Path(made.path), restored / "store.db")
    async with RunningHub(restored) as hub, hub.client() as ada:
        async with hub.node(held=leases) as node:
            assert node.welcome.epoch > leases[0].epoch
            revoked = (await node.command("revoke")).revoke
            assert sorted(revoked.attempts.tasks) == sorted(lease.task for lease in leases)
            await node.accepted(await node.end(leases, b"stale"))
            assert (await ada.job(job.job).status()).done == 0
            again = await node.take(2)
            assert {lease.epoch for lease in again} == {node.welcome.epoch}
            await node.accepted(await node.end(again, b"fresh"))
        assert await collect(ada, job.job) == [b"fresh", b"fresh"]
        assert hub.hub.reactor.state.stale_results == 2
