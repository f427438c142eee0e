"""A catalog's rows in memory: the fake that is shipped, for tests and for a hub that keeps nothing."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from farlane.models.catalog.values import AliasMove, DeltaRow, Model, PrivateFile, Version
from farlane.models.cid import Cid


@dataclass(slots=True)
class _State:
    models: dict[str, Model] = field(default_factory=dict)
    versions: dict[str, dict[int, Version]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    moves: list[AliasMove] = field(default_factory=list)
    sequence: int = 0
    aliases: dict[str, dict[str, Cid]] = field(default_factory=dict)
    accepted: dict[tuple[str, Cid], str] = field(default_factory=dict)
    deltas: dict[tuple[Cid, Cid], DeltaRow] = field(default_factory=dict)
    private: dict[PrivateFile, None] = field(default_factory=dict)


class MemoryRows:
    """Rows in dictionaries; a change that fails is undone."""

    def __init__(self) -> None:
        self._state = _State()
        self._lock = threading.RLock()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the rows."""
        with self._lock:
            yield

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Be the only writer; undone by an error."""
        with self._lock:
            before = copy.deepcopy(self._state)
            try:
                yield
            except BaseException:
                self._state = before
                raise

    def models(self) -> list[Model]:
        """Return all models by name."""
        return [self._state.models[name] for name in sorted(self._state.models)]

    def model(self, name: str) -> Model | None:
        """Return one model."""
        return self._state.models.get(name)

    def put_model(self, model: Model) -> None:
        """Add or replace a model."""
        self._state.models[model.name] = model

    def remove_model(self, name: str) -> None:
        """Remove a model with its versions, moves, aliases and deltas."""
        state = self._state
        for table in (state.models, state.versions, state.numbers, state.aliases):
            table.pop(name, None)
        state.moves = [one for one in state.moves if one.name != name]
        self._remove_loose_deltas()

    def versions(self, name: str) -> list[Version]:
        """Return the versions of a name, oldest first."""
        known = self._state.versions.get(name, {})
        return [known[number] for number in sorted(known)]

    def version(self, name: str, number: int) -> Version | None:
        """Return a version by number."""
        return self._state.versions.get(name, {}).get(number)

    def newest(self, name: str) -> Version | None:
        """Return the version with the highest number."""
        known = self._state.versions.get(name)
        return known[max(known)] if known else None

    def next_number(self, name: str) -> int:
        """Return one more than any number ever was."""
        return self._state.numbers.get(name, 0) + 1

    def version_of(self, name: str, manifest: Cid) -> Version | None:
        """Return a version by its manifest."""
        return next((one for one in self.versions(name) if one.manifest == manifest), None)

    def add_version(self, version: Version) -> None:
        """Add a version."""
        self._state.versions.setdefault(version.name, {})[version.number] = version
        self._state.numbers[version.name] = max(self._state.numbers.get(version.name, 0), version.number)

    def remove_version(self, name: str, number: int) -> None:
        """Remove a version, and the deltas that make it or need it."""
        self._state.versions.get(name, {}).pop(number, None)
        self._remove_loose_deltas()

    def alias(self, name: str, alias: str) -> Cid | None:
        """Return where an alias stands."""
        return self._state.aliases.get(name, {}).get(alias)

    def aliases(self, name: str) -> dict[str, Cid]:
        """Return all aliases of a name."""
        return dict(sorted(self._state.aliases.get(name, {}).items()))

    def next_sequence(self) -> int:
        """Return the sequence of the next move."""
        return self._state.sequence + 1

    def add_move(self, move: AliasMove) -> None:
        """Record a move and put the alias where it points."""
        self._state.moves.append(move)
        self._state.sequence = move.sequence
        known = self._state.aliases.setdefault(move.name, {})
        if move.target is None:
            known.pop(move.alias, None)
        else:
            known[move.alias] = move.target

    def moves(self, name: str) -> list[AliasMove]:
        """Return the moves of a name's aliases, oldest first."""
        return [one for one in self._state.moves if one.name == name]

    def moves_after(self, sequence: int, limit: int) -> list[AliasMove]:
        """Return the moves of all names behind a sequence, oldest first."""
        return [one for one in self._state.moves if one.sequence > sequence][:limit]

    def accept(self, who: str, expression: str, manifest: Cid, at: float) -> None:
        """Record that somebody accepted the licence of a version."""
        del at
        self._state.accepted[who, manifest] = expression

    def accepted(self, who: str, manifest: Cid) -> str:
        """Return the expression that was accepted for a version, empty for none."""
        return self._state.accepted.get((who, manifest), "")

    def all_manifests(self) -> list[Cid]:
        """Return the manifests of all versions of all names."""
        return [one.manifest for known in self._state.versions.values() for one in known.values()]

    def has_manifest(self, manifest: Cid) -> bool:
        """Tell whether a version of any name has a manifest."""
        return manifest in self.all_manifests()

    def put_delta(self, delta: DeltaRow) -> None:
        """Add a delta, or replace the one between the same versions."""
        self._state.deltas[delta.target, delta.base] = delta

    def deltas(self, target: Cid) -> list[DeltaRow]:
        """Return the deltas that make a version, smallest first."""
        found = [one for one in self._state.deltas.values() if one.target == target]
        return sorted(found, key=lambda one: (one.size_bytes, one.base.bytes))

    def remove_delta(self, target: Cid, base: Cid) -> None:
        """Remove the delta between two versions."""
        self._state.deltas.pop((target, base), None)

    def all_deltas(self) -> list[Cid]:
        """Return the roots of all deltas."""
        return list(dict.fromkeys(one.root for one in self._state.deltas.values()))

    def put_private(self, file: PrivateFile) -> None:
        """Note a file of a private version, once."""
        self._state.private[file] = None

    def private(self) -> list[PrivateFile]:
        """Return the files of private versions that are noted."""
        return list(self._state.private)

    def remove_private(self, file: PrivateFile) -> None:
        """Forget a file of a private version."""
        self._state.private.pop(file, None)

    def close(self) -> None:
        """Keep nothing."""

    def _remove_loose_deltas(self) -> None:
        known = set(self.all_manifests())
        for pair in [pair for pair in self._state.deltas if not known.issuperset(pair)]:
            del self._state.deltas[pair]
