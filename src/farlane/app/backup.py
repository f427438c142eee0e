"""Restoring a network's store from a backup, beside the keys and tokens that stay as they are."""

from __future__ import annotations

import time
from pathlib import Path

from farlane.app.layout import Layout
from farlane.app.network import load
from farlane.errors import Conflict
from farlane.hub.store.sqlite.backup import restore


def restore_network(backup: Path, directory: Path) -> Path | None:
    """Put a backup in place of the store; returns where the old store was moved to, None when there was none.

    Raises:
        NotFound: no network in this directory.
        Conflict: its hub is running.
        Corrupted: the backup is damaged.
    """
    layout = Layout(directory)
    known = load(layout)
    if known.hub is not None and known.hub.alive():
        raise Conflict(f"the hub of {directory} is running; stop it first with `farlane down`")
    kept = None
    if layout.store.exists():
        kept = layout.store.with_name(f"store-before-{time.strftime('%Y%m%d-%H%M%S')}.db")
        for suffix in ("-wal", "-shm"):
            beside = layout.store.with_name(layout.store.name + suffix)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + suffix))
        layout.store.rename(kept)
    try:
        restore(backup, layout.store)
    except BaseException:
        if kept is not None:
            kept.rename(layout.store)
        raise
    return kept
