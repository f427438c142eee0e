"""A run's folder: whole after anything, and clear about what is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import Conflict, Corrupted, DiskFull, InvalidInput, NotFound
from farlane.lab.training import folder as module
from farlane.lab.training.folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", b"name: it", {"seed": 3})


def test_what_is_kept_comes_back(folder: RunFolder) -> None:
    assert folder.load("ppo") is None
    folder.save("ppo", {"a": np.arange(3), "b": np.array(2.5)})
    found = folder.load("ppo")
    assert found is not None
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"] == 2.5
    again = RunFolder.resume(folder.path)
    assert again.config() == b"name: it"
    assert again.about()["seed"] == 3


def test_points_beyond_the_kept_state_are_dropped(folder: RunFolder) -> None:
    for stage, step in (("a", 1), ("b", 1), ("b", 2), ("b", 3)):
        folder.append({"stage": stage, "step": step})
    with (folder.path / "curves.jsonl").open("a") as curves:
        curves.write('{"stage": "b", "st')  # a kill in the middle of a line
    folder.forget_after("b", 1)
    assert folder.curves() == [{"stage": "a", "step": 1}, {"stage": "b", "step": 1}]
    folder.append({"stage": "b", "step": 2})
    assert len(folder.curves()) == 3


@pytest.mark.parametrize("damage", [b"", b"PK nonsense", b"\x00" * 200])
def test_damaged_state_is_told(folder: RunFolder, damage: bytes) -> None:
    (folder.path / "search.npz").write_bytes(damage)
    with pytest.raises(Corrupted, match="Remove it to do that stage again"):
        folder.load("search")


def test_a_flipped_bit_is_told(folder: RunFolder) -> None:
    folder.save("search", {"a": np.arange(1000)})
    path = folder.path / "search.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupted, match="damaged"):
        folder.load("search")


def test_pickles_are_refused(folder: RunFolder) -> None:
    np.savez(folder.path / "ppo.npz", a=np.array([{}], dtype=object))
    with pytest.raises(Corrupted, match="damaged"):
        folder.load("ppo")


def test_one_folder_is_one_run(folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="--resume"):
        RunFolder.create(folder.path, b"", {})
    with pytest.raises(NotFound, match="no training run"):
        RunFolder.resume(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="no folder"):
        RunFolder.create(tmp_path / "file", b"", {})
    (folder.path / "run.json").write_text("{")
    with pytest.raises(Corrupted, match="cannot be read"):
        RunFolder.resume(folder.path)


def test_a_full_disk_leaves_the_state_before(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.save("ppo", {"a": np.zeros(1)})

    def full(path: Path, data: bytes, mode: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(module, "atomic_write", full)
    with pytest.raises(DiskFull, match="Free space"):
        folder.save("ppo", {"a": np.ones(1)})
    found = folder.load("ppo")
    assert found is not None
    assert found["a"] == 0
