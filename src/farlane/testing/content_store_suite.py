"""What every content store must do: one class of tests, run on the fake and on each real store.

A subclass provides two fixtures:

* `make_store`: called as `make_store(max_bytes=None, evict=True, clock=None)`, returns a new, empty store;
* `damage`: called as `damage(store, cid)`, flips bits of a blob behind the store's back, keeping its size.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farlane.errors import Conflict, Corrupted, DiskFull, InvalidInput, NotFound, TooLarge
from farlane.kit.cid import cid_of
from farlane.kit.clock import Clock, ManualClock
from farlane.models.store import ContentStore

HELLO = b"hello world"
HELLO_CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
ABSENT = cid_of(b"nowhere to be found")

Damage = Callable[[ContentStore, str], None]


class MakeStore(Protocol):
    """Makes a new, empty store."""

    def __call__(
        self, *, max_bytes: int | None = None, evict: bool = True, clock: Clock | None = None
    ) -> ContentStore:
        """Return the store."""
        ...


class ContentStoreSuite:
    """The promises of `farlane.models.store.ContentStore`."""

    @pytest.fixture
    def store(self, make_store: MakeStore) -> ContentStore:
        """An unlimited store."""
        return make_store()

    def test_what_was_put_comes_back_under_its_ipfs_cid(self, store: ContentStore) -> None:
        """The CID is the one IPFS gives a raw block."""
        assert store.put(HELLO) == HELLO_CID
        assert store.read(HELLO_CID) == HELLO
        assert store.read(HELLO_CID, verify=False) == HELLO
        with store.open(HELLO_CID) as stream:
            assert stream.read() == HELLO
        assert store.path(HELLO_CID).read_bytes() == HELLO
        assert store.size(HELLO_CID) == len(HELLO)
        assert store.has(HELLO_CID)
        assert list(store.iterate()) == [HELLO_CID]
        assert store.total_bytes == len(HELLO)
        store.verify(HELLO_CID)

    def test_putting_twice_keeps_one(self, store: ContentStore) -> None:
        """Content has one name, and counts once."""
        assert store.put(HELLO) == store.put(bytearray(HELLO)) == store.put(memoryview(HELLO))
        assert store.total_bytes == len(HELLO)
        assert len(list(store.iterate())) == 1

    def test_the_empty_blob_is_a_blob(self, store: ContentStore) -> None:
        """Nothing is content too."""
        cid = store.put(b"")
        assert cid == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
        assert store.read(cid) == b""
        assert store.begin(cid).commit() == cid

    @settings(
        deadline=None,
        max_examples=30,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(chunks=st.lists(st.binary(max_size=3000), max_size=6))
    def test_pieces_make_the_same_blob_as_the_whole(self, make_store: MakeStore, chunks: list[bytes]) -> None:
        """However content is cut, its CID and bytes are the same."""
        store, data = make_store(), b"".join(chunks)
        with store.begin(cid_of(data)) as writer:
            for chunk in chunks:
                writer.write(chunk)
            assert writer.written_bytes == len(data)
            cid = writer.commit()
        assert cid == cid_of(data) == store.put(data)
        assert store.read(cid) == data
        assert store.total_bytes == len(data)

    @pytest.mark.parametrize("operation", ["size", "read", "open", "path", "verify"])
    def test_a_missing_blob_is_not_found(self, store: ContentStore, operation: str) -> None:
        """Asking for what is not here says so."""
        with pytest.raises(NotFound, match=ABSENT):
            getattr(store, operation)(ABSENT)

    def test_a_missing_blob_is_absent_in_every_way(self, store: ContentStore) -> None:
        """It is not held, not deleted and not there."""
        assert not store.has(ABSENT)
        assert store.delete(ABSENT) is False
        with pytest.raises(NotFound), store.hold(ABSENT):
            pass
        assert list(store.iterate()) == []

    @pytest.mark.parametrize("cid", ["", "../../etc/passwd", HELLO_CID.upper(), HELLO_CID + "/x", "QmX"])
    @pytest.mark.parametrize(
        "operation", ["has", "size", "read", "open", "path", "verify", "delete", "begin"]
    )
    def test_what_is_no_cid_is_refused_everywhere(
        self, store: ContentStore, operation: str, cid: str
    ) -> None:
        """A name from a stranger never becomes a path, nor a silent no."""
        with pytest.raises(InvalidInput, match="expected a CIDv1"):
            getattr(store, operation)(cid)

    def test_nothing_is_visible_before_the_commit(self, store: ContentStore) -> None:
        """An unfinished blob does not exist."""
        writer = store.begin()
        writer.write(HELLO)
        assert not store.has(HELLO_CID)
        assert list(store.iterate()) == []
        assert writer.commit() == HELLO_CID
        assert store.has(HELLO_CID)

    def test_a_wrong_hash_is_refused_at_the_commit(self, store: ContentStore) -> None:
        """What does not match its CID never becomes visible."""
        writer = store.begin(HELLO_CID)
        writer.write(b"hello w0rld")
        with pytest.raises(Corrupted, match=HELLO_CID):
            writer.commit()
        assert list(store.iterate()) == []
        assert store.total_bytes == 0

    def test_an_aborted_writer_leaves_nothing(self, store: ContentStore) -> None:
        """Leaving the block without a commit aborts."""
        with store.begin() as writer:
            writer.write(HELLO)
        writer.abort()
        assert list(store.iterate()) == []

    def test_a_finished_writer_takes_no_more(self, store: ContentStore) -> None:
        """Committed and aborted writers are done."""
        committed, aborted = store.begin(), store.begin()
        committed.commit()
        aborted.abort()
        for writer in (committed, aborted):
            with pytest.raises(Conflict, match="begin a new one"):
                writer.write(b"x")
            with pytest.raises(Conflict, match="begin a new one"):
                writer.commit()
        committed.abort()
        assert store.has(cid_of(b""))

    def test_a_file_is_kept_and_left(self, store: ContentStore, tmp_path: Path) -> None:
        """put_file copies by default."""
        file = tmp_path / "file"
        file.write_bytes(HELLO * 300_000)
        assert store.read(store.put_file(file)) == HELLO * 300_000
        assert file.exists()

    @pytest.mark.parametrize("known", [False, True])
    def test_a_file_is_moved(self, store: ContentStore, tmp_path: Path, known: bool) -> None:
        """With `move` the file is gone, whether or not its content was here."""
        file = tmp_path / "file"
        file.write_bytes(HELLO)
        if known:
            store.put(HELLO)
        assert store.put_file(file, move=True) == HELLO_CID
        assert not file.exists()
        assert store.read(HELLO_CID) == HELLO
        assert store.total_bytes == len(HELLO)

    @pytest.mark.parametrize("move", [False, True])
    def test_a_file_with_a_second_name_is_copied(
        self, store: ContentStore, tmp_path: Path, move: bool
    ) -> None:
        """Writing through the other name must not change the blob."""
        file, other = tmp_path / "file", tmp_path / "other"
        file.write_bytes(HELLO)
        other.hardlink_to(file)
        store.put_file(file, move=move)
        other.write_bytes(b"HELLO WORLD")
        assert file.exists() is not move
        assert store.read(HELLO_CID) == HELLO

    @pytest.mark.parametrize("move", [False, True])
    @pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
    def test_only_plain_files_are_taken(
        self, store: ContentStore, tmp_path: Path, kind: str, move: bool
    ) -> None:
        """A planted link does not read somebody else's file, and a pipe does not block."""
        planted, secret = tmp_path / "planted", tmp_path / "secret"
        secret.write_bytes(b"secret")
        if kind == "link":
            planted.symlink_to(secret)
        elif kind == "directory":
            planted.mkdir()
        else:
            os.mkfifo(planted)
        with pytest.raises(InvalidInput, match="not a regular file"):
            store.put_file(planted, move=move)
        assert secret.read_bytes() == b"secret"
        assert list(store.iterate()) == []

    def test_the_path_is_read_only(self, store: ContentStore) -> None:
        """A worker may read the file and not change it."""
        path = store.path(store.put(HELLO))
        assert path.stat().st_mode & 0o777 == 0o400
        assert store.path(HELLO_CID) == path

    @pytest.mark.parametrize("operation", ["read", "verify"])
    def test_flipped_bits_are_found_and_a_good_copy_can_be_put(
        self, store: ContentStore, damage: Damage, operation: str
    ) -> None:
        """A damaged blob is an error once, then absent, then replaceable."""
        store.put(HELLO)
        store.path(HELLO_CID)
        damage(store, HELLO_CID)
        with pytest.raises(Corrupted, match=HELLO_CID):
            getattr(store, operation)(HELLO_CID)
        assert not store.has(HELLO_CID)
        assert store.total_bytes == 0
        assert store.put(HELLO) == HELLO_CID
        assert store.read(HELLO_CID) == HELLO
        assert store.path(HELLO_CID).read_bytes() == HELLO

    def test_unverified_reads_give_what_is_there(self, store: ContentStore, damage: Damage) -> None:
        """`verify=False` trusts the disk, as documented."""
        store.put(HELLO)
        damage(store, HELLO_CID)
        assert store.read(HELLO_CID, verify=False) != HELLO
        assert store.has(HELLO_CID)

    def test_deleted_is_gone(self, store: ContentStore) -> None:
        """Delete tells whether there was anything to remove."""
        path = store.path(store.put(HELLO))
        assert store.delete(HELLO_CID) is True
        assert store.delete(HELLO_CID) is False
        assert not store.has(HELLO_CID)
        assert not path.exists()
        assert store.total_bytes == 0

    def test_a_held_blob_cannot_be_deleted(self, store: ContentStore) -> None:
        """Holds nest, and the last one out frees the blob."""
        store.put(HELLO)
        with store.hold(HELLO_CID):
            with store.hold(HELLO_CID):
                pass
            with pytest.raises(Conflict, match="in use"):
                store.delete(HELLO_CID)
        assert store.delete(HELLO_CID)

    def test_an_open_blob_survives_its_deletion(self, store: ContentStore) -> None:
        """Who reads already reads to the end."""
        store.put(HELLO)
        with store.open(HELLO_CID) as stream:
            store.delete(HELLO_CID)
            assert stream.read() == HELLO

    def test_the_least_recently_used_makes_room(self, make_store: MakeStore) -> None:
        """Every kind of use counts."""
        store = make_store(max_bytes=300)
        a, b, c = (store.put(bytes([n]) * 100) for n in range(3))
        store.has(a)
        d = store.put(b"d" * 100)
        assert [store.has(cid) for cid in (a, b, c, d)] == [True, False, True, True]
        store.read(a)
        store.path(c)
        store.put(b"d" * 100)
        e = store.put(b"e" * 100)
        assert [store.has(cid) for cid in (a, c, d, e)] == [False, True, True, True]
        assert store.total_bytes == 300

    def test_held_blobs_are_not_evicted(self, make_store: MakeStore) -> None:
        """When all is held the store is full, and nothing was lost for the try."""
        store = make_store(max_bytes=300)
        a, b = store.put(b"a" * 100), store.put(b"b" * 100)
        with store.hold(a):
            c = store.put(b"c" * 200)
            assert [store.has(cid) for cid in (a, b, c)] == [True, False, True]
            with store.hold(c), pytest.raises(DiskFull, match="in use"):
                store.put(b"d")
        assert store.put(b"d" * 100) == cid_of(b"d" * 100)
        assert store.total_bytes <= 300

    def test_a_store_of_record_never_evicts(self, make_store: MakeStore) -> None:
        """With `evict=False` a spent budget is a full disk."""
        store = make_store(max_bytes=150, evict=False)
        kept = store.put(b"a" * 100)
        with pytest.raises(DiskFull, match="nothing may be evicted"):
            store.put(b"b" * 100)
        assert list(store.iterate()) == [kept]
        assert store.put(b"c" * 50)

    def test_a_blob_beyond_the_whole_budget_is_refused_before_anything_goes(
        self, make_store: MakeStore, tmp_path: Path
    ) -> None:
        """It could not fit if the store were empty."""
        store = make_store(max_bytes=100)
        kept = store.put(b"a" * 100)
        file = tmp_path / "large"
        file.write_bytes(b"b" * 101)
        with pytest.raises(TooLarge, match="raise its max_bytes"):
            store.put(b"b" * 101)
        with pytest.raises(TooLarge):
            store.put_file(file, move=True)
        assert file.exists()
        assert list(store.iterate()) == [kept]

    def test_unfinished_writes_count_and_give_back(self, make_store: MakeStore) -> None:
        """Two writers cannot promise the same bytes."""
        store = make_store(max_bytes=100, evict=False)
        one, other = store.begin(), store.begin()
        one.write(b"1" * 60)
        with pytest.raises(DiskFull):
            other.write(b"2" * 60)
        with pytest.raises(Conflict):
            other.commit()  # after an error it is aborted
        one.abort()
        assert store.put(b"3" * 100)

    def test_collection_spares_what_is_kept_held_or_young(self, make_store: MakeStore) -> None:
        """All others go, and are counted."""
        clock = ManualClock()
        store = make_store(clock=clock)
        kept, held, used, again, gone = (store.put(name.encode() * 10) for name in "khuag")
        clock.advance(3600)
        young = store.put(b"young")
        store.read(used)
        store.put(b"a" * 10)
        with store.hold(held):
            clock.advance(10)
            collected = store.collect(lambda cid: cid in (kept, held), older_than_s=60)
        assert collected == (1, 10)
        assert set(store.iterate()) == {kept, held, used, again, young}
        assert not store.has(gone)
        with store.hold(held):
            clock.advance(60)
            assert store.collect(lambda cid: False, older_than_s=60).blobs == 4
        assert list(store.iterate()) == [held]

    def test_collection_copes_with_deletion_meanwhile(self, store: ContentStore) -> None:
        """`keep` may take its time, and blobs may go in it."""
        for data in (b"a", b"b", b"c"):
            store.put(data)

        def delete_all(cid: str) -> bool:
            store.delete(cid)
            return False

        assert store.collect(delete_all, older_than_s=0) == (0, 0)

    def test_many_threads_may_put_the_same(self, store: ContentStore) -> None:
        """Each gets the CID, and there is one blob."""
        data = os.urandom(200_000)
        gate = threading.Barrier(8)

        def put(number: int) -> str:
            gate.wait(timeout=10)
            if number % 2:
                return store.put(data)
            writer = store.begin(cid_of(data))
            writer.write(data)
            return writer.commit()

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(put, range(8))) == {cid_of(data)}
        assert store.read(cid_of(data)) == data
        assert store.total_bytes == len(data)

    def test_threads_that_put_read_and_evict_see_whole_blobs_only(self, make_store: MakeStore) -> None:
        """Under pressure a blob is right or absent, and the budget holds."""
        store = make_store(max_bytes=20_000)
        blobs = [bytes([n]) * 3000 for n in range(12)]

        def work(seed: int) -> int:
            whole = 0
            for step in range(40):
                data = blobs[(seed * 7 + step * 5) % len(blobs)]
                cid = store.put(data)
                try:
                    whole += store.read(cid) == data
                except NotFound:
                    continue  # evicted by another thread
            return whole

        with ThreadPoolExecutor(3) as pool:
            assert sum(pool.map(work, range(3))) > 60
        assert store.total_bytes <= 20_000
        assert store.total_bytes == sum(store.size(cid) for cid in store.iterate())
