"""Fetching traces from a server of this machine: resumed, bounded, kept only if every byte is right."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, NotFound, PermissionRefused, Unavailable
from farlane.lab.download import fetch, present
from farlane.lab.public_traces import TRACES, PublicTrace, trace_named

BODY = b"one job\n" * 20_000


@dataclass
class Publisher:
    """Publishes one file; `breaks_at` bytes into it the next answer ends; `ranges` are answered or not."""

    url: str = ""
    body: bytes = BODY
    breaks_at: int | None = None
    ranges: bool = True
    status: int = 0
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    found = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            found.asked.append(wanted)
            if found.status:
                self.send_error(found.status)
                return
            first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and found.ranges else 0
            rest = found.body[first:]
            if first and not rest:
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if found.breaks_at is not None:
                rest, found.breaks_at = rest[: found.breaks_at], None
            self.wfile.write(rest)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}/log.swf"
        yield found
        server.shutdown()
        thread.join()


def published(publisher: Publisher, *, pack: bool = False, restricted: bool = False) -> PublicTrace:
    digest = hashlib.sha256(BODY).hexdigest()
    return PublicTrace(
        "log", "swf/log.swf", publisher.url, len(BODY), digest, pack, "study", restricted, "jobs"
    )


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "swf").iterdir())


def test_a_trace_is_fetched_once(tmp_path: Path, publisher: Publisher) -> None:
    trace, told = published(publisher), []
    assert not present(trace, tmp_path)
    path = fetch(trace, tmp_path, progress=lambda have, expected: told.append((have, expected)))
    assert (path.read_bytes(), left(tmp_path)) == (BODY, ["log.swf"])
    assert told[-1] == (len(BODY), len(BODY))
    assert fetch(trace, tmp_path) == path
    assert publisher.asked == [""]


def test_one_that_is_published_as_text_is_kept_packed(tmp_path: Path, publisher: Publisher) -> None:
    trace = published(publisher, pack=True)
    path = fetch(trace, tmp_path)
    assert gzip.decompress(path.read_bytes()) == BODY
    assert present(trace, tmp_path)
    assert left(tmp_path) == ["log.swf"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_gone_on_from(tmp_path: Path, publisher: Publisher, ranges: bool) -> None:
    trace = published(publisher)
    publisher.breaks_at, publisher.ranges = 70_000, ranges
    with pytest.raises(Unavailable, match=r"cannot fetch log.* of 160000 bytes are here; the same command"):
        fetch(trace, tmp_path)
    have = (tmp_path / "swf" / ".log.swf.part").stat().st_size
    assert 0 < have <= 70_000
    assert fetch(trace, tmp_path).read_bytes() == BODY
    assert publisher.asked == ["", f"bytes={have}-"]


def test_what_is_left_of_something_else_does_not_stay_in_the_way(
    tmp_path: Path, publisher: Publisher
) -> None:
    trace = published(publisher)
    partial = tmp_path / "swf" / ".log.swf.part"
    partial.parent.mkdir()
    partial.write_bytes(BODY + b"more than there is")
    assert fetch(trace, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("body", [BODY[:-1] + b"x", BODY + b"x" * 500_000])
def test_another_file_is_refused_and_nothing_kept(tmp_path: Path, publisher: Publisher, body: bytes) -> None:
    publisher.body = body
    with pytest.raises(
        Corrupted, match=r"is not the trace log: .* expected 160000 with .*Nothing of it is kept"
    ):
        fetch(published(publisher), tmp_path)
    assert left(tmp_path) == []


def test_a_server_that_never_ends_is_cut_off(tmp_path: Path, publisher: Publisher) -> None:
    told: list[int] = []
    publisher.body = BODY * 20
    with pytest.raises(Corrupted):
        fetch(published(publisher), tmp_path, progress=lambda have, _: told.append(have))
    assert max(told) < 2 * len(BODY)


def test_a_file_of_that_name_that_is_another_is_left_alone(tmp_path: Path, publisher: Publisher) -> None:
    mine = tmp_path / "swf" / "log.swf"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(Corrupted, match="move it away"):
        fetch(published(publisher), tmp_path)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (410, NotFound), (503, Unavailable)])
def test_a_server_that_says_no_is_told_apart(
    tmp_path: Path, publisher: Publisher, status: int, kind: type[Exception]
) -> None:
    publisher.status = status
    with pytest.raises(kind, match=str(status)):
        fetch(published(publisher), tmp_path)


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path, publisher: Publisher) -> None:
    trace = replace(published(publisher), url="http://127.0.0.1:1/log.swf")
    with pytest.raises(Unavailable, match=r"cannot fetch log"):
        fetch(trace, tmp_path)


def test_terms_are_accepted_first(tmp_path: Path, publisher: Publisher) -> None:
    trace = published(publisher, restricted=True)
    with pytest.raises(PermissionRefused, match=r"comes with terms: study. Say --accept-terms"):
        fetch(trace, tmp_path)
    assert publisher.asked == []
    assert fetch(trace, tmp_path, accept_terms=True).exists()


def test_two_do_not_fetch_one_trace_at_once(tmp_path: Path, publisher: Publisher) -> None:
    partial = tmp_path / "swf" / ".log.swf.part"
    partial.parent.mkdir()
    with partial.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another process"):
            fetch(published(publisher), tmp_path)


def test_every_trace_is_named_once_and_pinned() -> None:
    assert len({trace.name for trace in TRACES}) == len({trace.path for trace in TRACES}) == len(TRACES)
    assert all(len(trace.sha256) == 64 and trace.size_bytes > 0 and trace.terms for trace in TRACES)
    assert all(trace.url.startswith("https://") for trace in TRACES)
    with pytest.raises(NotFound, match="philly"):
        trace_named("phily")
