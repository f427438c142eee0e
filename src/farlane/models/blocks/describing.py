"""Files on a disk, described by one reading of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from farlane.errors import Conflict
from farlane.kit.files import open_regular
from farlane.models.unixfs.describing import Plain, Plan, describe
from farlane.models.unixfs.file_dag import DescribedFile, FileStamp


def describe_file(path: Path, plans: Sequence[Plan] = (Plain(),)) -> DescribedFile:
    """Return the names of a file's content.

    Args:
        path: a regular file; a link is refused.
        plans: one DAG is made by each, in this order; the first is the one whose leaves are transferred.

    Raises:
        FileNotFoundError: there is nothing.
        InvalidInput: it is not a regular file.
        Conflict: it was changed meanwhile.
    """
    with open(open_regular(path), "rb", buffering=0) as stream:
        before = stamp_of(os.fstat(stream.fileno()))
        described = describe(stream, before.size_bytes, plans, before)
        if stamp_of(os.fstat(stream.fileno())) != before:
            raise Conflict(f"{path} was changed while it was read: stop its writer first", path=str(path))
    return described


def stamp_of(status: os.stat_result) -> FileStamp:
    """Return what changes when a file is written or replaced."""
    return FileStamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
