"""The workspace of private versions: nobody else's, gone at the end, and swept after a crash."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
from pathlib import Path

from farlane.models.private.workspace import workspace


def test_it_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with workspace(tmp_path / "here") as place:
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        (place / "sealed").write_bytes(b"content")
    assert list((tmp_path / "here").iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_another_uses_stays(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    dying = context.Process(target=_hang, args=(tmp_path, ready))
    dying.start()
    assert ready.wait(30)
    with workspace(tmp_path) as own:
        assert len(list(tmp_path.iterdir())) == 2
        assert dying.pid is not None
        os.kill(dying.pid, signal.SIGKILL)
        dying.join()
        with workspace(tmp_path) as second:
            assert set(tmp_path.iterdir()) == {own, second}


def _hang(directory: Path, ready: multiprocessing.synchronize.Event) -> None:
    with workspace(directory):
        ready.set()
        signal.pause()
