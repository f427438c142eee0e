"""The folder of a training run: its configuration, the state of each stage, its curves; whole after a power cut."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farlane.errors import Conflict, Corrupted, InvalidInput, NotFound, PermissionRefused
from farlane.kit.files import atomic_write, disk_full_as_error

FORMAT = 1
State = dict[str, NDArray[Any]]
Row = dict[str, float | int | str]
"""A point of the curves: stage, step, and figures by name."""
_CONFIG, _ABOUT, _CURVES = "config.yaml", "run.json", "curves.jsonl"


class RunFolder:
    """One run's files; readable by anybody, and never executed or unpickled.

    config.yaml: as it was given; run.json: format, versions, hashes of the data; STAGE.npz: arrays of a stage after
    its last step; curves.jsonl: a line a step; *.png: plots; checkpoint.npz: the policy.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: bytes, about: Mapping[str, Any]) -> RunFolder:
        """Begin a run.

        Raises:
            Conflict: the folder holds one already.
            PermissionRefused, DiskFull: it cannot be written.
        """
        folder = cls(path)
        if (path / _CONFIG).exists():
            raise Conflict(
                f"{path} holds a training run already; go on with --resume, or name another folder"
            )
        with _writing(path):
            path.mkdir(parents=True, exist_ok=True)
            atomic_write(path / _ABOUT, json.dumps({"format": FORMAT, **about}, indent=2).encode(), 0o644)
            atomic_write(path / _CONFIG, config, 0o644)
        return folder

    @classmethod
    def resume(cls, path: Path) -> RunFolder:
        """Open a run.

        Raises:
            NotFound: there is none.
            Corrupted: its description cannot be read, or is of another format.
        """
        folder = cls(path)
        folder.config()
        if folder.about().get("format") != FORMAT:
            raise Corrupted(f"{path / _ABOUT} is not of format {FORMAT}; it was written by another version")
        return folder

    def config(self) -> bytes:
        """Return the configuration; raises NotFound where there is no run."""
        try:
            return (self.path / _CONFIG).read_bytes()
        except OSError as error:
            raise NotFound(f"{self.path} holds no training run: {error.strerror}") from error

    def about(self) -> dict[str, Any]:
        """Return what run.json says; raises Corrupted."""
        try:
            found = json.loads((self.path / _ABOUT).read_bytes())
        except (OSError, ValueError) as error:
            raise Corrupted(f"{self.path / _ABOUT} cannot be read: {error}") from error
        return found if isinstance(found, dict) else {}

    def save(self, stage: str, state: State) -> None:
        """Put a stage's arrays in place of those before.

        Raises:
            DiskFull: the ones before stay.
        """
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **state)
        with _writing(self.path):
            atomic_write(self.path / f"{stage}.npz", packed.getvalue(), 0o644)

    def load(self, stage: str) -> State | None:
        """Return a stage's arrays, None where it has not begun.

        Raises:
            Corrupted: the file is damaged.
        """
        path = self.path / f"{stage}.npz"
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise Corrupted(
                f"{path} is damaged: {error}. Remove it to do that stage again, or begin anew in another folder"
            ) from error

    def append(self, row: Row) -> None:
        """Add a point to the curves; raises DiskFull."""
        with _writing(self.path), (self.path / _CURVES).open("ab") as curves:
            curves.write(json.dumps(row).encode() + b"\n")

    def curves(self) -> list[Row]:
        """Return all points; a line that was cut off by a kill is left out."""
        path = self.path / _CURVES
        rows: list[Row] = []
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def forget_after(self, stage: str, steps: int) -> None:
        """Drop points of a stage beyond its saved steps, which will be done again."""
        kept = [row for row in self.curves() if row["stage"] != stage or int(row["step"]) <= steps]
        with _writing(self.path):
            lines = b"".join(json.dumps(row).encode() + b"\n" for row in kept)
            atomic_write(self.path / _CURVES, lines, 0o644)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name what is wrong with a folder that cannot be written."""
    with disk_full_as_error(path):
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            raise InvalidInput(f"{path} is no folder; name another with --out") from error
        except PermissionError as error:
            raise PermissionRefused(f"cannot write {path}: {os.strerror(error.errno or 0)}") from error
