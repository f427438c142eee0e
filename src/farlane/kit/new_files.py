"""Files that are made once: complete from their first moment, and never in place of another."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from farlane.kit.files import atomic_write, fsync_directory


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that must not exist yet; of two writers at once exactly one succeeds.

    Args:
        path: the file; its directory must exist, on a file system with hard links.
        data: the whole content.
        mode: permission bits, whatever the umask.

    Raises:
        FileExistsError: something stands there; it is untouched.
        DiskFull: if there is no room; nothing is left behind.
        OSError: if the directory cannot be written.
    """
    complete = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        atomic_write(complete, data, mode)
        # A link, unlike a rename, fails where something stands already.
        os.link(complete, path, follow_symlinks=False)
    finally:
        complete.unlink(missing_ok=True)
    fsync_directory(path.parent)
