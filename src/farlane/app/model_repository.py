"""The repository of models on this machine: which directory, which store, and who can check signatures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from farlane.kit.clock import Clock
from farlane.kit.files import private_directory
from farlane.models.repository import Repository

MODELS_DIRECTORY = "models"
CATALOG_FILE = "catalog.db"
BLOCKS_DIRECTORY = "blocks"
WORKSPACE_DIRECTORY = "workspace"
"""Where private versions are encrypted before they are added."""


def default_directory() -> Path:
    """Return where this user's models are."""
    from farlane.sdk.context import data_directory

    return data_directory() / MODELS_DIRECTORY


@contextmanager
def open_repository(
    directory: Path, clock: Clock | None = None, *, max_bytes: int | None = None
) -> Iterator[Repository]:
    """Open the repository in a directory, new if there is none; several processes may have it open.

    Args:
        directory: of the repository.
        clock: dates what is added.
        max_bytes: what this process may fill it up to; None for no limit.

    Raises:
        PermissionRefused: the directory is another user's, or open to others.
        Corrupted, DiskFull, Conflict, InvalidInput: as its catalog and its store of blocks.
    """
    from farlane.app.model_signing import recover_text
    from farlane.models.blocks.disk import DiskBlockStore
    from farlane.models.catalog.catalog import Catalog
    from farlane.models.catalog.rows_sqlite import SqliteRows

    private_directory(directory)
    catalog = Catalog(SqliteRows(directory / CATALOG_FILE), clock)
    with (
        closing(catalog),
        closing(DiskBlockStore(directory / BLOCKS_DIRECTORY, max_bytes=max_bytes, clock=clock)) as blocks,
    ):
        yield Repository(blocks, catalog, recover_text, clock, directory / WORKSPACE_DIRECTORY)
