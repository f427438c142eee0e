"""Crashes: what was acknowledged before kill -9, or before a journal was cut off, is there afterwards."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import farlane
from farlane.domain.ids import JobId
from farlane.domain.records import TasksAdded
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.testing.histories import job_opened, tasks_added
from farlane.testing.store_suite import append, commit

ROUNDS = 5
HUB = textwrap.dedent("""
    import sys
    from pathlib import Path
    from farlane.domain.ids import JobId
    from farlane.hub.store.sqlite.store import SqliteStore
    from farlane.testing.histories import job_opened, tasks_added

    store = SqliteStore(Path(sys.argv[1]), ballast_bytes=1 << 20)
    if not store.last_job():
        store.append([job_opened(1)], lambda error: None)
    first = sum(len(record.payloads.inline) for record in store.replay_job(JobId(1)) if hasattr(record, "payloads"))
    import threading
    room = threading.Semaphore(64)

    def acknowledge(number):
        def on_durable(error):
            if error is not None:
                sys.exit(f"append failed: {error}")
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
            room.release()
        return on_durable

    while True:
        room.acquire()
        store.append([tasks_added(1, first, 1 + first % 5)], acknowledge(first))
        first += 1 + first % 5
    """)


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    rng = random.Random(11)
    acknowledged = -1
    for _ in range(ROUNDS):
        last = _append_until_killed(path, rng.randrange(50, 800))
        assert last > acknowledged
        acknowledged = last
        _check(path, acknowledged)


def _append_until_killed(path: Path, lines: int) -> int:
    """Run a hub, kill it at some moment after `lines` acknowledgements; returns the last number it acknowledged."""
    source = str(Path(farlane.__file__).parent.parent)
    hub = subprocess.Popen(
        [sys.executable, "-c", HUB, str(path)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": source}
    )
    assert hub.stdout is not None
    watchdog = threading.Timer(60, hub.kill)
    watchdog.start()
    try:
        numbers = []
        for line in hub.stdout:  # what it wrote before it died is read to the end
            if line.endswith("\n"):
                numbers.append(int(line))
            if len(numbers) == lines:
                hub.kill()
    finally:
        hub.kill()
        watchdog.cancel()
        hub.stdout.close()
    assert hub.wait() == -signal.SIGKILL
    assert len(numbers) >= lines
    return numbers[-1]


def _check(path: Path, acknowledged: int) -> None:
    store = SqliteStore(path, ballast_bytes=1 << 20)
    batches = [record for record in store.replay() if isinstance(record, TasksAdded)]
    position = 0
    for record in batches:
        assert record.first == position
        position += len(record.payloads.inline)
    assert position > acknowledged
    expected = [b"payload 1.%d" % index for index in range(position)]
    assert store.payloads(JobId(1), 0, position).inline == expected
    commit(store, tasks_added(1, position, 1 + position % 5))
    store.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_journal_that_is_cut_off_anywhere_loses_only_its_tail(tmp_path: Path, seed: int) -> None:
    """A commit is in the store whole or not at all, and none is there without those before it."""
    path, sizes = tmp_path / "hub.sqlite", []
    store = SqliteStore(path, ballast_bytes=4096)
    commit(store, job_opened(1))
    for number in range(12):
        append(store, [tasks_added(1, 2 * number, 1), tasks_added(1, 2 * number + 1, 1)]).result(30)
        sizes.append(path.with_name("hub.sqlite-wal").stat().st_size)
    journal = path.with_name("hub.sqlite-wal")
    rng = random.Random(seed)
    for cut in (0, *(rng.randrange(journal.stat().st_size) for _ in range(10)), journal.stat().st_size):
        copy = tmp_path / f"cut-{cut}" / "hub.sqlite"
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
        copy.with_name("hub.sqlite-wal").write_bytes(journal.read_bytes()[:cut])
        survived = SqliteStore(copy, ballast_bytes=4096)
        firsts = [record.first for record in survived.replay() if isinstance(record, TasksAdded)]
        commits = sum(size <= cut for size in sizes)
        assert firsts == list(range(2 * commits))
        survived.close()
    store.close()
