"""A promoted checkpoint: kept with its evidence, in force while the settings stay, and rolled back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.errors import Conflict, FarlaneError, NotFound
from farlane.hub.deciding.naming import load_policy
from farlane.hub.deciding.opening import policy_of
from farlane.hub.deciding.promoted import (
    FOLDER,
    MAX_DEPTH,
    POINTER,
    PREFIX,
    promote,
    promotion,
    roll_back,
    with_promoted,
)
from farlane.hub.settings import HubSettings
from farlane.scheduler.learned.policy import LearnedPolicy
from farlane.scheduler.learned.shipped import shipped_bytes

RAW = shipped_bytes()


def settings_in(directory: Path, policy: str = "fifo") -> HubSettings:
    return replace(HubSettings(), directory=directory, policy=policy)


def test_nothing_is_promoted_at_first(tmp_path: Path) -> None:
    assert promotion(tmp_path) is None
    assert with_promoted(settings_in(tmp_path)) == settings_in(tmp_path)
    with pytest.raises(NotFound, match="nothing is promoted"):
        roll_back(tmp_path)


def test_a_promoted_checkpoint_decides_while_the_settings_stay(tmp_path: Path) -> None:
    found = promote(tmp_path, RAW, "fifo", 5.0, {"wins": True})
    assert json.loads((tmp_path / FOLDER / found.checkpoint).with_suffix(".json").read_text()) == {
        "wins": True
    }
    settings = with_promoted(settings_in(tmp_path))
    assert (settings.policy, settings.policy_fallback) == (
        f"{PREFIX}{tmp_path / FOLDER / found.checkpoint}",
        "fifo",
    )
    assert isinstance(load_policy(settings.policy), LearnedPolicy)
    assert policy_of(settings).name == settings.policy
    assert with_promoted(settings_in(tmp_path, "spread")).policy == "spread"
    promote(tmp_path, RAW, "learned", 6.0, {})
    assert with_promoted(settings_in(tmp_path, "learned")).policy_fallback == HubSettings().policy_fallback


def test_the_one_before_comes_back(tmp_path: Path) -> None:
    first = promote(tmp_path, RAW, "fifo", 5.0, {})
    promote(tmp_path, RAW, "learned", 6.0, {})
    assert roll_back(tmp_path) == first
    assert promotion(tmp_path) == first
    assert roll_back(tmp_path) is None
    assert promotion(tmp_path) is None


def test_only_so_many_are_remembered(tmp_path: Path) -> None:
    for at in range(MAX_DEPTH + 5):
        promote(tmp_path, RAW, "fifo", float(at), {})
    for _ in range(MAX_DEPTH):
        roll_back(tmp_path)
    assert promotion(tmp_path) is None


def test_what_is_no_checkpoint_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(FarlaneError):
        promote(tmp_path, b"no checkpoint", "fifo", 5.0, {})
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize(
    "pointer", ["", "[]", '{"checkpoint": "../x.npz", "instead_of": "fifo", "at": 1, "before": null}']
)
def test_a_pointer_that_is_none_leaves_the_settings(
    tmp_path: Path, pointer: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / POINTER).write_text(pointer)
    with pytest.raises(Conflict, match="does not say what is promoted"):
        promotion(tmp_path)
    assert with_promoted(settings_in(tmp_path)) == settings_in(tmp_path)
    assert "no promoted policy" in caplog.text


def test_a_checkpoint_that_is_gone_or_damaged_leaves_the_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = promote(tmp_path, RAW, "fifo", 5.0, {})
    path = tmp_path / FOLDER / found.checkpoint
    path.write_bytes(RAW[:100])
    assert with_promoted(settings_in(tmp_path)).policy == "fifo"
    assert "cannot be read" in caplog.text
    path.unlink()
    assert with_promoted(settings_in(tmp_path)).policy == "fifo"
    with pytest.raises(NotFound, match="is gone: promote again"):
        promotion(tmp_path)
