"""The disk store keeps the promises of every content store, and finds what it kept."""

from __future__ import annotations

import itertools
import stat
from pathlib import Path

import pytest

from farlane.errors import DiskFull, NotFound, PermissionRefused
from farlane.kit.clock import Clock, ManualClock
from farlane.models.store import ContentStore
from farlane.models.store_disk import USE_RESOLUTION_S, DiskStore
from farlane.testing.content_store_suite import HELLO, HELLO_CID, ContentStoreSuite, Damage, MakeStore


class TestDiskStore(ContentStoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        numbers = itertools.count()

        def make(
            *, max_bytes: int | None = None, evict: bool = True, clock: Clock | None = None
        ) -> DiskStore:
            root = tmp_path / f"store{next(numbers)}"
            return DiskStore(root, max_bytes=max_bytes, evict=evict, clock=clock)

        return make

    @pytest.fixture
    def damage(self) -> Damage:
        def flip(store: ContentStore, cid: str) -> None:
            path = store.path(cid)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0x10
            path.chmod(0o600)
            path.write_bytes(data)

        return flip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def files_under(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


class TestLayout:
    def test_files_lie_in_shards_and_are_private(self, root: Path) -> None:
        DiskStore(root).put(HELLO)
        assert files_under(root) == [f"blobs/n5/{HELLO_CID}"]
        for path in root.rglob("*"):
            expected = 0o700 if path.is_dir() else 0o400
            assert stat.S_IMODE(path.stat().st_mode) == expected, path

    def test_a_new_object_finds_what_is_there(self, root: Path) -> None:
        DiskStore(root).put(HELLO)
        again = DiskStore(root)
        assert again.total_bytes == len(HELLO)
        assert again.read(HELLO_CID) == HELLO

    def test_strange_files_are_passed_over(self, root: Path) -> None:
        store = DiskStore(root)
        store.put(HELLO)
        (root / "blobs" / "README").write_text("not a shard")
        (root / "blobs" / "n5" / "notes.txt").write_text("not a blob")
        assert list(store.iterate()) == [HELLO_CID]
        assert DiskStore(root).total_bytes == len(HELLO)
        assert (root / "blobs" / "n5" / "notes.txt").exists()

    def test_a_directory_open_to_others_is_refused(self, root: Path) -> None:
        root.mkdir()
        root.chmod(0o755)
        (root / "file").touch()
        with pytest.raises(PermissionRefused):
            DiskStore(root)

    def test_two_objects_share_a_directory(self, root: Path) -> None:
        one, other = DiskStore(root), DiskStore(root)
        one.put(HELLO)
        assert other.read(HELLO_CID) == HELLO
        assert other.total_bytes == len(HELLO)
        other.delete(HELLO_CID)
        with pytest.raises(NotFound):
            one.read(HELLO_CID)
        assert one.total_bytes == 0


class TestUse:
    def test_the_order_of_use_survives_a_restart(self, root: Path) -> None:
        clock = ManualClock()
        store = DiskStore(root, clock=clock)
        cids = []
        for data in (b"a" * 10, b"b" * 10, b"c" * 10):
            cids.append(store.put(data))
            clock.advance(USE_RESOLUTION_S + 1)
        store.read(cids[0])
        smaller = DiskStore(root, max_bytes=20, clock=clock)
        assert [smaller.has(cid) for cid in cids] == [True, False, True]

    def test_a_smaller_budget_without_eviction_removes_nothing(self, root: Path) -> None:
        DiskStore(root).put(HELLO)
        store = DiskStore(root, max_bytes=5, evict=False)
        assert store.has(HELLO_CID)
        with pytest.raises(DiskFull):
            store.put(b"x")

    def test_reading_often_writes_seldom(self, root: Path) -> None:
        clock = ManualClock()
        store = DiskStore(root, clock=clock)
        path = store.path(store.put(HELLO))
        put_s = path.stat().st_mtime
        clock.advance(USE_RESOLUTION_S - 1)
        store.read(HELLO_CID)
        assert path.stat().st_mtime == put_s
        clock.advance(2)
        store.read(HELLO_CID)
        assert path.stat().st_mtime == pytest.approx(clock.now())

    def test_collection_knows_the_age_of_blobs_it_did_not_put(self, root: Path) -> None:
        clock = ManualClock()
        collector = DiskStore(root, clock=clock)
        DiskStore(root, clock=clock).put(HELLO)
        assert collector.collect(lambda cid: False, older_than_s=60) == (0, 0)
        clock.advance(60)
        assert collector.collect(lambda cid: False, older_than_s=60) == (1, len(HELLO))
