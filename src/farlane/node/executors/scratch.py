"""The scratch directory of an executor: a private place for each worker and each task, removed when it is done."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from farlane.kit.files import private_directory


class Scratch:
    """Names and removes scratch directories; one instance owns a fresh private directory.

    Args:
        parent: where to make it.
    """

    def __init__(self, parent: Path) -> None:
        private_directory(parent)
        self.root = tempfile.mkdtemp(prefix="executor-", dir=parent.absolute())

    def of_worker(self, number: int) -> str:
        """Return the directory a worker keeps for its life: working directory, HOME and TMPDIR of functions."""
        return f"{self.root}/w{number}"

    def of_task(self, ticket: int) -> str:
        """Return the directory of one command, beside which lies the result file of one function."""
        return f"{self.root}/t{ticket}"

    @staticmethod
    def result_of(task: str) -> str:
        """Return the path of a function's result file, given the directory of its task."""
        return task + ".result"

    def remove_task(self, ticket: int) -> None:
        """Remove all that one task left."""
        task = self.of_task(ticket)
        Path(self.result_of(task)).unlink(missing_ok=True)
        remove_tree(task)

    def remove_worker(self, number: int) -> None:
        """Remove all that one worker left."""
        remove_tree(self.of_worker(number))

    def remove(self) -> None:
        """Remove everything."""
        remove_tree(self.root)


def remove_tree(path: str) -> None:
    """Remove a directory tree, also one whose owner took his own rights away; links are not followed."""
    shutil.rmtree(path, onerror=_open_and_retry)


def _open_and_retry(function: Callable[..., object], path: str, error: object) -> None:
    # A directory without write or search permission: give them back and try once more, then leave it.
    parent = os.path.dirname(path)
    for directory in (parent, path):
        if os.path.isdir(directory) and not os.path.islink(directory):
            os.chmod(directory, 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)
