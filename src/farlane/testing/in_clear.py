"""Finding where a model lies in clear, below a directory in which others work meanwhile."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SAMPLE_BYTES = 64


def in_clear(directory: Path, model: Path) -> set[Path]:
    """Return which files have what the model's largest file has in its middle.

    Args:
        directory: files and folders below it may go at any moment.
        model: folder of the model.

    Returns:
        Paths relative to `directory`; links are not followed.
    """
    largest = max(model.iterdir(), key=lambda path: path.stat().st_size).read_bytes()
    wanted = largest[len(largest) // 2 :][:SAMPLE_BYTES]
    found = set()
    for folder, _, names in os.walk(directory):  # unlike `Path.rglob`, it passes over a folder that has gone
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink() and wanted in path.read_bytes():
                    found.add(path.relative_to(directory))
    return found
