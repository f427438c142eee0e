"""The port of a catalog's storage: rows, and transactions that see nobody else's half-done changes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from farlane.models.catalog.values import AliasMove, DeltaRow, Model, PrivateFile, Version
from farlane.models.cid import Cid


class Rows(Protocol):
    """Storage of one catalog; all methods but the two contexts are called inside one of them."""

    def reading(self) -> AbstractContextManager[None]:
        """See one state of the rows."""
        ...

    def changing(self) -> AbstractContextManager[None]:
        """Be the only writer, of this and every other process; durable at the end, undone by an error."""
        ...

    def models(self) -> list[Model]:
        """Return all models by name."""
        ...

    def model(self, name: str) -> Model | None:
        """Return one model."""
        ...

    def put_model(self, model: Model) -> None:
        """Add or replace a model."""
        ...

    def remove_model(self, name: str) -> None:
        """Remove a model with its versions, moves, aliases and deltas."""
        ...

    def versions(self, name: str) -> list[Version]:
        """Return the versions of a name, oldest first."""
        ...

    def version(self, name: str, number: int) -> Version | None:
        """Return a version by number."""
        ...

    def newest(self, name: str) -> Version | None:
        """Return the version with the highest number."""
        ...

    def next_number(self, name: str) -> int:
        """Return the number that the next version gets: one more than any ever had, removed ones too."""
        ...

    def version_of(self, name: str, manifest: Cid) -> Version | None:
        """Return a version by its manifest."""
        ...

    def add_version(self, version: Version) -> None:
        """Add a version."""
        ...

    def remove_version(self, name: str, number: int) -> None:
        """Remove a version, and the deltas that make it or need it."""
        ...

    def alias(self, name: str, alias: str) -> Cid | None:
        """Return where an alias stands."""
        ...

    def aliases(self, name: str) -> dict[str, Cid]:
        """Return all aliases of a name."""
        ...

    def next_sequence(self) -> int:
        """Return the sequence of the next move."""
        ...

    def add_move(self, move: AliasMove) -> None:
        """Record a move and put the alias where it points."""
        ...

    def moves(self, name: str) -> list[AliasMove]:
        """Return the moves of a name's aliases, oldest first."""
        ...

    def moves_after(self, sequence: int, limit: int) -> list[AliasMove]:
        """Return the moves of all names behind a sequence, oldest first."""
        ...

    def accept(self, who: str, expression: str, manifest: Cid, at: float) -> None:
        """Record that somebody accepted the licence of a version."""
        ...

    def accepted(self, who: str, manifest: Cid) -> str:
        """Return the expression that was accepted for a version, empty for none."""
        ...

    def all_manifests(self) -> list[Cid]:
        """Return the manifests of all versions of all names."""
        ...

    def has_manifest(self, manifest: Cid) -> bool:
        """Tell whether a version of any name has a manifest."""
        ...

    def put_delta(self, delta: DeltaRow) -> None:
        """Add a delta, or replace the one between the same versions."""
        ...

    def deltas(self, target: Cid) -> list[DeltaRow]:
        """Return the deltas that make a version, smallest first."""
        ...

    def remove_delta(self, target: Cid, base: Cid) -> None:
        """Remove the delta between two versions."""
        ...

    def all_deltas(self) -> list[Cid]:
        """Return the roots of all deltas."""
        ...

    def put_private(self, file: PrivateFile) -> None:
        """Note a file of a private version, once."""
        ...

    def private(self) -> list[PrivateFile]:
        """Return the files of private versions that are noted."""
        ...

    def remove_private(self, file: PrivateFile) -> None:
        """Forget a file of a private version."""
        ...

    def close(self) -> None:
        """Give back what the rows hold open."""
        ...
