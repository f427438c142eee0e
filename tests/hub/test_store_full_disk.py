"""A full disk: the commit fails whole, nothing acknowledged is lost, reads and closing go on, and space cures it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.domain.ids import JobId
from farlane.domain.records import JobOpened, TasksAdded
from farlane.errors import DiskFull
from farlane.hub.store.memory import MemoryStore
from farlane.hub.store.sqlite import faults
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.kit.files import free_bytes
from farlane.testing.histories import AT, finished_job, job_opened, tasks_added
from farlane.testing.store_suite import append, commit

MIB = 1 << 20
BATCH_BYTES = 256 << 10


def batch(number: int) -> TasksAdded:
    added = tasks_added(1, number, 1)
    added.payloads.inline[0] = os.urandom(BATCH_BYTES)
    return added


def fill(store: SqliteStore) -> int:
    """Append batches one by one until the store is full; returns how many were acknowledged."""
    for number in range(1000):
        error = append(store, [batch(number)]).exception(30)
        if error is not None:
            assert isinstance(error, DiskFull), error
            assert "free some space" in str(error).lower()
            return number
    pytest.fail("the store never got full")


def check_full_store(store: SqliteStore, acknowledged: int) -> None:
    """What must hold while a store is full."""
    batches = [record for record in store.replay() if isinstance(record, TasksAdded)]
    assert [record.first for record in batches] == list(range(acknowledged))
    assert len(store.payloads(JobId(1), 0, acknowledged).inline) == acknowledged
    assert isinstance(append(store, [job_opened(2)]).exception(30), DiskFull)
    assert isinstance(append(store, []).exception(30), DiskFull)
    assert store.last_job() == 1
    assert isinstance(store.refusal, DiskFull)


def test_a_store_at_its_size_limit_forgets_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    store = SqliteStore(path, max_bytes=8 * MIB, ballast_bytes=64 << 10)
    old = finished_job(9, 1)
    assert isinstance(old[1], TasksAdded)
    old[1].payloads.inline[0] = os.urandom(3 * MIB)
    commit(store, job_opened(1), *old)
    acknowledged = fill(store)
    assert acknowledged > 5
    assert store.payloads(JobId(9), 0, 1) == old[1].payloads
    with pytest.raises(DiskFull):
        store.resume()
    assert store.forget(AT + 1) == 1
    store.resume()
    assert store.refusal is None
    commit(store, batch(acknowledged), job_opened(10))
    assert store.last_job() == 10
    assert len(store.payloads(JobId(1), 0, acknowledged + 1).inline) == acknowledged + 1
    store.close()


def test_a_full_store_closes_and_reopens(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    store = SqliteStore(path, max_bytes=4 * MIB, ballast_bytes=64 << 10)
    commit(store, job_opened(1))
    acknowledged = fill(store)
    check_full_store(store, acknowledged)
    store.close()
    assert not path.with_name("hub.sqlite-wal").exists()
    again = SqliteStore(path, ballast_bytes=64 << 10)
    commit(again, batch(acknowledged))
    assert len(again.payloads(JobId(1), 0, acknowledged + 1).inline) == acknowledged + 1
    again.close()


def test_one_failed_commit_fails_as_a_whole(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.sqlite", max_bytes=4 * MIB, ballast_bytes=64 << 10)
    commit(store, job_opened(1))
    error = append(store, [job_opened(2), *(batch(number) for number in range(40))]).exception(30)
    assert isinstance(error, DiskFull)
    assert list(store.replay()) == [job_opened(1)]
    store.close()


def test_a_full_store_waits_for_as_much_room_as_was_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "hub.sqlite", max_bytes=8 * MIB, ballast_bytes=64 << 10)
    old = finished_job(9, 1)
    assert isinstance(old[1], TasksAdded)
    old[1].payloads.inline[0] = os.urandom(3 * MIB)
    commit(store, job_opened(1), *old)
    refused = [batch(number) for number in range(24)]
    assert isinstance(append(store, refused).exception(30), DiskFull)
    with pytest.raises(DiskFull):
        store.resume()  # there is room for smaller things
    assert store.forget(AT + 1) == 1
    store.resume()
    commit(store, *refused)
    store.close()


# --- a real small disk --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(mount)],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs: {made.stderr.strip()}")
    yield mount
    # Lazy: a store that a failed test left open must not turn one failure into two.
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill_disk(directory: Path, leave_bytes: int = 0) -> Path:
    """Fill a disk with a file of somebody else."""
    filler = directory / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free_bytes(directory) - leave_bytes)
    return filler


@pytest.mark.real
def test_a_full_disk_still_reads_checkpoints_and_closes(small_disk: Path) -> None:
    path = small_disk / "hub.sqlite"
    store = SqliteStore(path, ballast_bytes=8 * MIB)
    commit(store, job_opened(1))
    acknowledged = fill(store)
    assert acknowledged >= 10
    assert not path.with_name("hub.sqlite.ballast").exists()
    check_full_store(store, acknowledged)
    store.close()
    assert not path.with_name("hub.sqlite-wal").exists()  # checkpointed: all is in the one file
    again = SqliteStore(path, ballast_bytes=64 << 10)
    assert len(again.payloads(JobId(1), 0, acknowledged).inline) == acknowledged
    again.close()


@pytest.mark.real
def test_a_hub_goes_on_after_space_was_made(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "hub.sqlite", ballast_bytes=4 * MIB)
    commit(store, job_opened(1))
    filler = fill_disk(small_disk, leave_bytes=2 * MIB)
    acknowledged = fill(store)
    check_full_store(store, acknowledged)
    with pytest.raises(DiskFull):
        store.resume()
    assert store.refusal is not None
    filler.unlink()
    store.resume()
    assert small_disk.joinpath("hub.sqlite.ballast").stat().st_size == 4 * MIB
    commit(store, batch(acknowledged), job_opened(2))
    assert len(store.payloads(JobId(1), 0, acknowledged + 1).inline) == acknowledged + 1
    store.close()


@pytest.mark.real
def test_what_was_refused_fits_once_a_full_disk_has_room_for_it(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "hub.sqlite", ballast_bytes=4 * MIB)
    commit(store, job_opened(1))
    refused = [batch(number) for number in range(20)]
    filler = fill_disk(small_disk, leave_bytes=3 * MIB)
    assert isinstance(append(store, refused).exception(30), DiskFull)
    tries = 0
    while store.refusal is not None:
        tries += 1
        os.truncate(filler, filler.stat().st_size - MIB)
        with contextlib.suppress(DiskFull):
            store.resume()
    assert tries > 1
    commit(store, *refused)
    store.close()


@pytest.mark.real
def test_a_store_on_a_full_disk_opens_for_reading(small_disk: Path) -> None:
    path = small_disk / "hub.sqlite"
    store = SqliteStore(path, ballast_bytes=MIB)
    commit(store, job_opened(1))
    store.close()
    path.with_name("hub.sqlite.ballast").unlink()
    filler = fill_disk(small_disk, leave_bytes=256 << 10)
    again = SqliteStore(path, ballast_bytes=MIB)
    assert list(again.replay()) == [job_opened(1)]
    assert isinstance(append(again, [job_opened(2)]).exception(30), DiskFull)
    filler.unlink()
    again.resume()
    commit(again, job_opened(2))
    assert again.last_job() == 2
    again.close()


@pytest.mark.real
def test_a_disk_without_a_single_free_byte_is_named_as_such(small_disk: Path) -> None:
    path = small_disk / "hub.sqlite"
    store = SqliteStore(path, ballast_bytes=MIB)
    commit(store, job_opened(1))
    store.close()
    path.with_name("hub.sqlite.ballast").unlink()
    fill_disk(small_disk)
    with pytest.raises(DiskFull, match=r"(?i)free .*space"):
        SqliteStore(path, ballast_bytes=MIB)


@pytest.mark.real
def test_no_room_for_a_new_store_or_a_backup_leaves_nothing_behind(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "hub.sqlite", ballast_bytes=64 << 10)
    commit(store, job_opened(1), *(batch(number) for number in range(8)))
    store.resume()  # returns after the checkpoint, which would take space while the disk is being filled
    fill_disk(small_disk, leave_bytes=300 << 10)
    before = sorted(file.name for file in small_disk.iterdir())
    with pytest.raises(DiskFull):
        store.backup(str(small_disk / "backup"))
    with pytest.raises(DiskFull):
        SqliteStore(small_disk / "second.sqlite", ballast_bytes=64 << 10)
    assert sorted(file.name for file in small_disk.iterdir()) == sorted([*before, "second.sqlite.lock"])
    store.close()


# --- the fake's full disk ---------------------------------------------------------------------------------------


def test_the_fake_releases_by_hand_and_fails_on_command() -> None:
    store = MemoryStore(manual=True)
    told: list[object] = []
    for number in range(1, 5):
        store.append([job_opened(number)], told.append)
    assert (store.pending, told, store.last_job()) == (4, [], 0)
    assert store.release(2) == 2
    assert (store.pending, told, store.last_job()) == (2, [None, None], 2)
    error = faults.disk_full(Path("hub.sqlite"))
    store.fail(error)
    store.append([job_opened(5)], told.append)
    assert store.release() == 3
    assert told == [None, None, error, error, error]
    assert [record.job for record in store.replay() if isinstance(record, JobOpened)] == [1, 2]
    store.resume()
    store.append([job_opened(3)], told.append)
    store.close()
    assert told[-1] is None
