"""A version as a folder for a replica: second names of the shelf's files, or copies where a disk has none."""

from __future__ import annotations

import errno
import os
import shutil
from collections import deque
from pathlib import Path
from typing import Final

from farlane.kit.files import private_directory
from farlane.models.blocks.port import BlockStore
from farlane.models.exporting import copy_checked, new_folder
from farlane.models.manifest.paths import check_paths
from farlane.models.manifest.values import Manifest, ModelFile

_NO_SECOND_NAME: Final = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
)


def lay_out(store: BlockStore, manifest: Manifest, folder: Path) -> None:
    """Make a folder with exactly the files of a version, which are all here.

    Raises:
        InvalidInput: a path that no model may have.
        NotFound: a file is not here.
        Corrupted: a file that had to be copied is damaged.
        DiskFull: no room.
    """
    check_paths(file.path for file in manifest.files)
    shutil.rmtree(folder, ignore_errors=True)  # of a process that died
    private_directory(folder.parent)
    with new_folder(folder) as target:
        for file in manifest.files:
            place = target / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            _give(store.file_path(file.sha256.hex()), place, file)


def _give(source: Path, place: Path, file: ModelFile) -> None:
    try:
        os.link(source, place)
    except OSError as error:
        if error.errno not in _NO_SECOND_NAME:
            raise
        deque(copy_checked(source, place, file), maxlen=0)
