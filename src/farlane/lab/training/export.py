"""A finished run as a checkpoint: its weights, and a manifest of the data, seeds, commit and figures behind them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from farlane.errors import Conflict, InvalidInput
from farlane.lab.training.config import Config, parse_config
from farlane.lab.training.episodes import Data
from farlane.lab.training.folder import RunFolder
from farlane.lab.training.ground import NAME as GROUND
from farlane.lab.training.ground import spans_in
from farlane.lab.training.run import RESULT
from farlane.lab.training.spans import merged
from farlane.scheduler.learned import network
from farlane.scheduler.learned.ensemble import FEATURES, dump
from farlane.scheduler.learned.manifest import Manifest, Source, Span

LICENCE = "Apache-2.0"


def about(config: Config, names: Sequence[str], data: Sequence[Data]) -> dict[str, Any]:
    """Return what run.json says of a run: versions, commit, seed, settings and hashes of the data."""
    return {
        "farlane": _version("farlane"),
        "commit": commit(),
        "seed": config.seed,
        "settings": list(names),
        "data": {each.name: each.sha256 for each in data},
        "packages": {name: _version(name) for name in ("numpy", "numba", "jax", "cma")},
    }


def export(folders: Sequence[RunFolder], note: str = "") -> bytes:
    """Return finished runs as one checkpoint, an ensemble where there are several.

    Args:
        folders: of the runs.
        note: a sentence for people, of at most 4096 characters.

    Raises:
        Conflict: a run is not finished.
        InvalidInput: no run is named, or two have the same seed.
        Corrupted: kept state is damaged.
    """
    if not folders:
        raise InvalidInput("no run is named; expected the folder of at least one")
    vectors, metrics, sources = [], [], set()
    seeds: list[int] = []
    for folder in folders:
        kept, said = folder.load(RESULT), folder.about()
        if kept is None:
            raise Conflict(
                f"the run in {folder.path} is not finished: go on with `farlane scheduler train --out {folder.path} "
                "--resume`, then export it"
            )
        vectors.append(kept["vector"])
        metrics.append(
            {name: float(np.exp(loss)) for name, loss in zip(said["settings"], kept["losses"], strict=True)}
        )
        sources |= {Source(name, sha256) for name, sha256 in said["data"].items()}
        seeds.append(int(said["seed"]))
    if len(set(seeds)) < len(seeds):
        raise InvalidInput(f"runs of equal seeds {seeds} are the same run: an ensemble needs different ones")
    manifest = Manifest(
        members=len(vectors),
        network={"hidden": network.HIDDEN, "node_hidden": network.NODE_HIDDEN},
        features=FEATURES,
        spans=_spans(folders),
        training=tuple(sorted(sources, key=lambda source: source.name)),
        seeds=tuple(seeds),
        commit=str(folders[0].about().get("commit", "")),
        metrics=_means(metrics),
        licence=LICENCE,
        note=note or parse_config(folders[0].config(), str(folders[0].path)).name,
    )
    return dump([network.unflatten(vector) for vector in vectors], manifest)


def commit() -> str:
    """Return the commit of this checkout, with a + where files were changed; empty where it is none."""
    here = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*here, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _means(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over the runs that have it: cost over the best rule's, by setting."""
    names = dict.fromkeys(name for each in metrics for name in each)
    return {
        f"cost over the best rule's, {name}": float(np.mean([each[name] for each in metrics if name in each]))
        for name in names
    }


def _spans(folders: Sequence[RunFolder]) -> dict[str, tuple[Span, ...]]:
    """Return the ranges of features that the runs saw."""
    seen = [span for folder in folders for span in spans_in(folder.load(GROUND) or {"rules": np.zeros(0)})]
    return {kind: tuple(Span(*row) for row in span.tolist()) for kind, span in merged(seen).items()}
