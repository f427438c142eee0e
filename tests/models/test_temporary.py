"""Unfinished files are spared while their writer lives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farlane.models.temporary import TemporaryFiles


class TestTemporaryFiles:
    def test_a_sweep_between_creation_and_lock_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        temporary = TemporaryFiles(tmp_path / "temporary")
        plain_open = os.open
        sweeps: list[int] = []

        def swept_open(path: Path, flags: int, mode: int = 0o777) -> int:
            descriptor = plain_open(path, flags, mode)
            if flags & os.O_EXCL and not sweeps:
                monkeypatch.setattr(os, "open", plain_open)
                sweeps.append(TemporaryFiles(tmp_path / "temporary").sweep())
            return descriptor

        monkeypatch.setattr(os, "open", swept_open)
        descriptor, path = temporary.create()
        os.close(descriptor)
        assert sweeps == [1]
        assert path.exists()

    def test_a_sweep_that_holds_the_lock_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = iter([BlockingIOError(), None])

        def flock(descriptor: int, operation: int) -> None:
            if (answer := next(answers)) is not None:
                raise answer

        monkeypatch.setattr("fcntl.flock", flock)
        descriptor, path = TemporaryFiles(tmp_path / "temporary").create()
        os.close(descriptor)
        assert path.exists()
        assert next(answers, "none left") == "none left"
