"""Backups of a running SQLite store: private, consistent, never overwriting, restored into a new epoch."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, InvalidInput, NotFound
from farlane.hub.store.sqlite import schema
from farlane.hub.store.sqlite.backup import restore
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.testing.histories import AT, job_opened, tasks_added, tasks_leased
from farlane.testing.store_suite import append, commit

BALLAST = 64 << 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path, ballast_bytes=BALLAST)
    yield store
    store.close()


def test_a_backup_is_one_private_file_and_consistent_while_appends_go_on(
    store: SqliteStore, path: Path
) -> None:
    commit(store, job_opened(1))
    futures = [
        append(store, [tasks_added(1, first, 256), tasks_leased(1, [first])])
        for first in range(0, 12_800, 256)
    ]
    futures[5].result(30)
    target = path.with_name("backup")
    store.backup(str(target))
    futures[-1].result(30)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not [file for file in path.parent.iterdir() if file.name.startswith((".", "backup-"))]
    restore(target, path.with_name("copy.sqlite"))
    copy = SqliteStore(path.with_name("copy.sqlite"), ballast_bytes=BALLAST)
    kinds = [type(record).__name__ for record in copy.replay()]
    assert kinds == ["JobOpened", *["TasksAdded", "TasksLeased"] * (len(kinds) // 2)]
    assert len(kinds) >= 1 + 2 * 6
    copy.close()


def test_restore_never_touches_an_existing_store(store: SqliteStore, path: Path) -> None:
    commit(store, job_opened(1))
    backup = path.with_name("backup")
    store.backup(str(backup))
    with pytest.raises(Conflict, match="in use by another hub"):
        restore(backup, path)
    commit(store, job_opened(2))
    store.close()
    with pytest.raises(Conflict, match="exists"):
        restore(backup, path)
    again = SqliteStore(path, ballast_bytes=BALLAST)
    assert (again.last_job(), again.epoch) == (2, 1)
    again.close()


def test_restore_refuses_a_place_with_a_left_over_journal(store: SqliteStore, path: Path) -> None:
    store.backup(str(path.with_name("backup")))
    target = path.with_name("other.sqlite")
    target.with_name("other.sqlite-wal").write_bytes(b"journal of a lost store")
    with pytest.raises(Conflict, match=r"other\.sqlite-wal exists"):
        restore(path.with_name("backup"), target)
    assert not target.exists()


def test_restore_of_a_damaged_backup_leaves_nothing_behind(store: SqliteStore, path: Path) -> None:
    commit(store, job_opened(1), *(tasks_added(1, number, 1) for number in range(2000)))
    backup = path.with_name("backup")
    store.backup(str(backup))
    data = bytearray(backup.read_bytes())
    for start in range(8 * schema.PAGE_BYTES, len(data), 4 * schema.PAGE_BYTES):
        data[start : start + 64] = bytes(64)
    backup.write_bytes(data)
    target = path.parent / "elsewhere" / "hub.sqlite"
    target.parent.mkdir()
    with pytest.raises(Corrupted, match="older backup"):
        restore(backup, target)
    assert [file.name for file in target.parent.iterdir()] == ["hub.sqlite.lock"]


def test_restore_wants_a_backup(store: SqliteStore, path: Path) -> None:
    target = path.with_name("new.sqlite")
    with pytest.raises(NotFound, match="no backup"):
        restore(path.with_name("nothing"), target)
    commit(store, job_opened(1))
    with pytest.raises(InvalidInput, match="journal beside it"):
        restore(path, target)
    shutil.copy(path, path.with_name("empty"))
    path.with_name("empty").write_bytes(b"")
    with pytest.raises(Corrupted, match="is empty"):
        restore(path.with_name("empty"), target)
    assert not target.exists()


def test_each_restore_begins_a_later_epoch_of_the_same_network(store: SqliteStore, path: Path) -> None:
    backup, again = path.with_name("backup"), path.with_name("backup again")
    store.backup(str(backup))
    restore(backup, path.with_name("second.sqlite"), now=AT)
    second = SqliteStore(path.with_name("second.sqlite"), ballast_bytes=BALLAST)
    second.backup(str(again))
    second.close()
    restore(again, path.with_name("third.sqlite"), now=AT)
    third = SqliteStore(path.with_name("third.sqlite"), ballast_bytes=BALLAST)
    assert (store.epoch, second.epoch, third.epoch) == (1, AT, AT + 1)
    assert store.network == second.network == third.network
    third.close()
