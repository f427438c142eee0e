"""The blob cache and what a job's preparation makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.jobs import BlobRef, CommandWork, Environment, InputFile
from farlane.errors import Corrupted, NotFound, Unavailable
from farlane.kit.cid import cid_of
from farlane.models.store_disk import DiskStore
from farlane.node.cache import BlobCache
from farlane.node.machine.attempts import JobFiles
from farlane.node.preparation import JobPreparer, Prepared, Unprepared
from farlane.testing.machine_driver import FUNCTION, job_spec


class Source:
    """Gives blobs out slowly, and counts."""

    def __init__(self, *contents: bytes) -> None:
        self.blobs = {cid_of(data): data for data in contents}
        self.fetched: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, blob: BlobRef, target: Path) -> None:
        self.fetched.append(blob.cid)
        await self.gate.wait()
        if blob.cid not in self.blobs:
            raise NotFound(f"no blob {blob.cid}")
        target.write_bytes(self.blobs[blob.cid])


def ref(data: bytes) -> BlobRef:
    return BlobRef(cid_of(data), len(data))


def new_cache(directory: Path, source: Source, max_bytes: int = 1000) -> BlobCache:
    store = DiskStore(directory / "blobs", max_bytes=max_bytes)
    return BlobCache(store, source.fetch, directory / "incoming")


async def test_a_blob_is_fetched_once_however_many_ask(tmp_path: Path) -> None:
    source = Source(b"data")
    source.gate.clear()
    cache = new_cache(tmp_path, source)
    assert cache.hold_present(ref(b"data")) is None
    asking = [asyncio.create_task(cache.hold(ref(b"data"))) for _ in range(5)]
    await asyncio.sleep(0)
    source.gate.set()
    paths = set(await asyncio.gather(*asking))
    assert source.fetched == [cid_of(b"data")]
    (path,) = paths
    assert Path(path).read_bytes() == b"data"
    assert cache.hold_present(ref(b"data")) == path
    assert cache.fetched_bytes == 4


async def test_one_failed_fetch_is_everybodys_and_the_next_asks_again(tmp_path: Path) -> None:
    source = Source()
    source.gate.clear()
    cache = new_cache(tmp_path, source)
    asking = [asyncio.create_task(cache.hold(ref(b"data"))) for _ in range(3)]
    await asyncio.sleep(0)
    source.gate.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(result) for result in results] == [NotFound] * 3
    assert len(source.fetched) == 1
    source.blobs[cid_of(b"data")] = b"data"
    assert await cache.hold(ref(b"data"))
    assert not list((tmp_path / "incoming").iterdir())


async def test_a_cancelled_fetch_leaves_the_others_to_try_for_themselves(tmp_path: Path) -> None:
    source = Source(b"data")
    source.gate.clear()
    cache = new_cache(tmp_path, source)
    first = asyncio.create_task(cache.hold(ref(b"data")))
    async with asyncio.timeout(10):
        while not source.fetched:
            await asyncio.sleep(0.001)
    second = asyncio.create_task(cache.hold(ref(b"data")))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    source.gate.set()
    assert Path(await second).read_bytes() == b"data"


async def test_bytes_of_another_blob_are_not_kept(tmp_path: Path) -> None:
    source = Source()
    source.blobs[cid_of(b"data")] = b"evil"
    cache = new_cache(tmp_path, source)
    with pytest.raises(Corrupted, match="are those of"):
        await cache.hold(ref(b"data"))
    assert cache.hold_present(ref(b"data")) is None


async def test_what_is_held_stays_and_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    contents = [bytes([number]) * 400 for number in range(3)]
    cache = new_cache(tmp_path, source := Source(*contents))
    await cache.hold(ref(contents[0]))
    await cache.hold(ref(contents[1]))
    cache.release(cid_of(contents[1]))
    await cache.hold(ref(contents[2]))
    assert cache.hold_present(ref(contents[0])) is not None
    assert cache.hold_present(ref(contents[1])) is None  # evicted
    cache.release(cid_of(contents[0]))
    cache.release(cid_of(contents[0]))
    await cache.hold(ref(contents[1]))
    assert source.fetched.count(cid_of(contents[1])) == 2


async def test_a_blob_damaged_between_two_runs_is_fetched_again(tmp_path: Path) -> None:
    source = Source(b"data")
    path = Path(await new_cache(tmp_path, source).hold(ref(b"data")))
    path.chmod(0o600)
    path.write_bytes(b"dat\0")
    assert Path(await new_cache(tmp_path, source).hold(ref(b"data"))).read_bytes() == b"data"
    assert len(source.fetched) == 2


class Sites:
    """Installs nothing but says where."""

    def __init__(self) -> None:
        self.installed: list[str] = []

    def prepare(self, lines: tuple[str, ...], digest: str) -> Path:
        if digest == "bad":
            raise Unavailable("pip failed")
        self.installed.append(digest)
        return Path("/sites") / digest


FUNCTION_SPEC = job_spec(
    function=replace(FUNCTION, function=ref(b"code")), environment=Environment("lock", ("x==1",))
)


async def test_what_is_here_is_prepared_without_waiting(tmp_path: Path) -> None:
    cache = new_cache(tmp_path, Source(b"code"))
    preparer = JobPreparer(cache, Sites())
    assert preparer.present(FUNCTION_SPEC) is None
    prepared = await preparer.prepare(FUNCTION_SPEC)
    assert isinstance(prepared, Prepared)
    assert prepared.files.site_path == "/sites/lock"
    assert prepared.held == (cid_of(b"code"),)
    assert preparer.present(FUNCTION_SPEC) == prepared
    preparer.release(prepared.held)


async def test_inputs_of_a_command_are_all_held_or_none(tmp_path: Path) -> None:
    cache = new_cache(tmp_path, source := Source(b"one", b"two"))
    preparer = JobPreparer(cache, Sites())
    inputs = (InputFile("a", ref(b"one")), InputFile("b/c", ref(b"two")))
    spec = job_spec(function=None, command=CommandWork("true", inputs=inputs))
    prepared = await preparer.prepare(spec)
    assert isinstance(prepared, Prepared)
    assert [name for name, _ in prepared.files.inputs] == ["a", "b/c"]
    assert [Path(path).read_bytes() for _, path in prepared.files.inputs] == [b"one", b"two"]
    missing = replace(inputs[1], blob=ref(b"three"))
    broken = job_spec(function=None, command=CommandWork("true", inputs=(inputs[0], missing)))
    assert preparer.present(broken) is None
    unprepared = await preparer.prepare(broken)
    assert isinstance(unprepared, Unprepared)
    assert unprepared.kind == FailureKind.BLOB
    source.gate.clear()
    waiting = asyncio.create_task(preparer.prepare(broken))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    preparer.release(prepared.held)
    with pytest.raises(KeyError):  # nothing else held it
        cache.release(cid_of(b"one"))


async def test_a_job_that_shares_nothing_needs_nothing(tmp_path: Path) -> None:
    preparer = JobPreparer(new_cache(tmp_path, Source()), Sites())
    spec = job_spec(function=None, command=CommandWork("true"))
    assert preparer.present(spec) == Prepared(JobFiles("", None, ()), ())


async def test_a_failed_installation_is_the_environments(tmp_path: Path) -> None:
    preparer = JobPreparer(new_cache(tmp_path, Source(b"code")), Sites())
    spec = replace(FUNCTION_SPEC, environment=Environment("bad", ("x==1",)))
    unprepared = await preparer.prepare(spec)
    assert isinstance(unprepared, Unprepared)
    assert unprepared.kind == FailureKind.ENVIRONMENT
    assert "pip failed" in unprepared.message
