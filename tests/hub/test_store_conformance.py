"""Every store passes the conformance suite of the port."""

from __future__ import annotations

from pathlib import Path

from farlane.hub.store.memory import MemoryStore
from farlane.hub.store.port import Store
from farlane.hub.store.sqlite.backup import restore
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.testing.store_archive_suite import StoreArchiveSuite
from farlane.testing.store_suite import StoreSuite


class TestMemoryStore(StoreSuite, StoreArchiveSuite):
    def create(self, directory: Path) -> Store:
        return MemoryStore()

    def restore(self, backup: Path, directory: Path, now: float | None = None) -> Store:
        return MemoryStore.restore(backup, now=now)


class TestSqliteStore(StoreSuite, StoreArchiveSuite):
    def create(self, directory: Path) -> Store:
        return SqliteStore(directory / "hub.sqlite", ballast_bytes=1 << 20)

    def restore(self, backup: Path, directory: Path, now: float | None = None) -> Store:
        restore(backup, directory / "hub.sqlite", now=now)
        return SqliteStore(directory / "hub.sqlite", ballast_bytes=1 << 20)
