"""`farlane scheduler train` and `export`, in this process: pause, resume, checkpoint, and what is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from farlane.cli import lab_extra
from farlane.cli.main import main
from farlane.scheduler.learned.ensemble import load

for package in ("jax", "cma", "matplotlib"):
    pytest.importorskip(package, reason="the lab extra is not installed: pip install 'farlane[lab]'")

CONFIG = """
name: small
settings:
  - {source: swf, trace: logs/own.swf, length: 12}
rules: 1
imitation: {epochs: 0}
ppo: {iterations: 0}
judging: {sequences: 1}
searches: [{generations: 2, population: 4, sequences: 1, arrays: {skip: []}}]
"""


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one log of 5,600 jobs, the shortest that is split into uses."""
    directory = tmp_path_factory.mktemp("traces")
    random = np.random.default_rng(0)
    lines = ["; MaxNodes: 8\n", "; MaxProcs: 8\n"]
    for job, (run, size) in enumerate(
        zip(random.integers(5, 900, 5600), random.integers(1, 9, 5600), strict=True)
    ):
        lines.append(f"{job} {job * 60} -1 {run} {size} -1 -1 {size} {run * 2} -1 1 9 -1 -1 0 -1 -1 -1\n")
    (directory / "logs").mkdir()
    (directory / "logs/own.swf").write_text("".join(lines))
    return directory


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path / "home"))
    (tmp_path / "run.yaml").write_text(CONFIG)
    return tmp_path


def test_a_run_pauses_goes_on_and_is_exported(
    home: Path, traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, from_here = home / "out", ["--traces", str(traces), "--workers", "0"]
    command = ["scheduler", "train", "--out", str(out), *from_here]
    assert main([*command, "--config", str(home / "run.yaml"), "--pause", "1e-9"]) == 0
    assert "--resume" in capsys.readouterr().out
    assert main(["scheduler", "export", str(out), "-o", str(home / "no.npz")]) == 1
    assert "not finished" in capsys.readouterr().err
    assert main([*command, "--resume", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["finished"]
    assert found["steps"] == {"search": 2}
    assert 0 < found["cost_over_best_rule"]["own.swf"] < 20
    checkpoint = load((out / "checkpoint.npz").read_bytes())
    assert checkpoint.manifest.training[0].name == "logs/own.swf"
    assert len(checkpoint.manifest.training[0].sha256) == 64
    assert checkpoint.manifest.seeds == (1,)
    assert {"task", "global"} <= set(checkpoint.manifest.spans)
    assert checkpoint.manifest.note == "small"
    assert main(["scheduler", "export", str(out), "-o", str(home / "it.npz"), "--note", "mine"]) == 0
    assert load((home / "it.npz").read_bytes()).manifest.note == "mine"
    (out / "search.npz").write_bytes(b"?")
    assert main([*command, "--resume"]) == 1
    assert "Remove it to do that stage again" in capsys.readouterr().err


def test_what_lacks_or_is_wrong_is_told(
    home: Path, traces: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*arguments: str) -> str:
        return refused("scheduler", "train", "--out", str(home / "out"), *arguments)

    config = ("--config", str(home / "run.yaml"))
    assert "is no directory" in train(*config, "--traces", str(home / "none"))
    assert "there are none" in train(*config)
    (home / "empty").mkdir()
    assert "'logs/own.swf' is not at" in train(*config, "--traces", str(home / "empty"))
    assert "did you mean 'default'" in train("--config", "defualt")
    assert "no training run" in train("--resume")
    assert "leave --config out" in train(*config, "--resume")
    long = home / "long.yaml"
    long.write_text(CONFIG.replace("length: 12", "length: 9000"))
    assert "ask for shorter ones, 1088 at most" in train("--config", str(long), "--traces", str(traces))
    monkeypatch.setattr(lab_extra, "find_spec", lambda name: None)
    assert "pip install 'farlane[lab]'" in train(*config)
    assert not (home / "out").exists()
