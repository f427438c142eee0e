"""The catalog's rules over any storage: who may change a name, which alias moves win, what a reference means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from farlane.errors import Conflict, Exhausted, InvalidInput, NotFound, PermissionRefused
from farlane.kit.clock import Clock, SystemClock
from farlane.kit.suggestions import hint
from farlane.models.catalog.deltas import Deltas
from farlane.models.catalog.history import previous_target
from farlane.models.catalog.private_files import PrivateFileNotes
from farlane.models.catalog.rows import Rows
from farlane.models.catalog.values import MAX_ALIASES, MAX_VERSIONS, AliasMove, Author, Model, Version
from farlane.models.cid import Cid
from farlane.models.manifest.signature import Signature, check_publisher
from farlane.models.names import NEWEST, Reference, check_alias, check_name, parse_reference

OnMove = Callable[[AliasMove], None]


class _Anywhere:
    """Stands for: wherever the alias stands now."""


ANYWHERE: Final = _Anywhere()
Expected = Cid | None | _Anywhere


class Catalog:
    """Names, versions and aliases; every method may be called from any thread.

    A name belongs to the organisation that added its first version. Nobody else changes it, but for authors without an
    organisation: they have the repository itself on their disk.

    Args:
        rows: the storage.
        clock: dates versions and moves.

    Attributes:
        deltas: between the versions here; private: files of private versions.
    """

    def __init__(self, rows: Rows, clock: Clock | None = None) -> None:
        self.deltas, self.private = Deltas(rows), PrivateFileNotes(rows)
        self._rows, self._clock = rows, clock or SystemClock()
        self._listeners: list[OnMove] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the storage."""
        self._rows.close()

    # Versions

    def add(
        self, name: str, manifest: Cid, signature: Signature | None = None, author: Author | None = None
    ) -> Version:
        """Add a version under the next number; one that is there already is returned as it is.

        Args:
            name: of the model; new ones belong to the author's organisation.
            manifest: its CID; the caller has checked it and its signature.
            signature: the publisher's, None for an unsigned version.
            author: who adds it.

        Raises:
            InvalidInput: the name is none.
            PermissionRefused: the name is another organisation's, or another account publishes it.
        """
        check_name(name)
        author, publisher = author or Author(), signature.signer if signature else ""
        with self._rows.changing():
            model = self._owned(name, author)
            check_publisher(name, publisher, model.publisher)
            if known := self._rows.version_of(name, manifest):
                return known
            number = self._rows.next_number(name)
            if number > MAX_VERSIONS:
                raise Exhausted(
                    f"{name} has had {MAX_VERSIONS} versions; farlane numbers no more: use another name"
                )
            self._rows.put_model(replace(model, publisher=publisher))
            version = Version(name, number, manifest, signature, self._clock.now())
            self._rows.add_version(version)
        return version

    def models(self) -> tuple[Model, ...]:
        """Return all names in order."""
        with self._rows.reading():
            return tuple(self._rows.models())

    def model(self, name: str) -> Model:
        """Return a name.

        Raises:
            NotFound: nobody has added it.
        """
        with self._rows.reading():
            return self._known(name)

    def versions(self, name: str) -> tuple[Version, ...]:
        """Return the versions of a name, oldest first.

        Raises:
            NotFound: nobody has added it.
        """
        with self._rows.reading():
            self._known(name)
            return tuple(self._rows.versions(name))

    def resolve(self, reference: Reference | str) -> Version:
        """Return the version that a reference means now.

        Raises:
            InvalidInput: it is no reference.
            NotFound: there is no such name, alias or version; the message names the nearest.
        """
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        with self._rows.reading():
            self._known(wanted.name)
            return self._resolved(wanted)

    def has(self, manifest: Cid) -> bool:
        """Tell whether a version of any name has this manifest."""
        with self._rows.reading():
            return self._rows.has_manifest(manifest)

    def remove(self, reference: Reference | str, author: Author | None = None) -> Version:
        """Remove a version; its number is never given again.

        Raises:
            NotFound: there is none.
            Conflict: an alias stands on it.
            PermissionRefused: the name is another organisation's.
        """
        wanted = parse_reference(reference) if isinstance(reference, str) else reference
        with self._rows.changing():
            self._owned(wanted.name, author or Author(), known=True)
            version = self._resolved(wanted)
            names = sorted(
                alias for alias, at in self._rows.aliases(wanted.name).items() if at == version.manifest
            )
            if names:
                raise Conflict(
                    f"{wanted.name}@v{version.number} is what {', '.join(names)} points to: move that alias first",
                    aliases=names,
                )
            self._rows.remove_version(wanted.name, version.number)
        return version

    def remove_model(self, name: str, author: Author | None = None) -> None:
        """Remove a name with all its versions, aliases and history.

        Raises:
            NotFound: there is none.
            PermissionRefused: it is another organisation's.
        """
        with self._rows.changing():
            self._owned(name, author or Author(), known=True)
            self._rows.remove_model(name)

    def trust(self, name: str, publisher: str, author: Author | None = None) -> Model:
        """Take another account's versions of a name from now on; empty for unsigned ones.

        Raises:
            PermissionRefused: the name is another organisation's.
        """
        check_name(name)
        with self._rows.changing():
            model = replace(self._owned(name, author or Author()), publisher=publisher)
            self._rows.put_model(model)
        return model

    # Aliases

    def move(
        self,
        name: str,
        alias: str,
        target: Reference | Cid,
        author: Author | None = None,
        expected: Expected = ANYWHERE,
    ) -> AliasMove:
        """Put an alias on a version, if it stands where the caller thinks; of two at once exactly one wins.

        Args:
            name: of the model.
            alias: its name.
            target: a version of that name.
            author: who moves it.
            expected: where it must stand now: a manifest, None for nowhere, ANYWHERE for no condition.

        Raises:
            NotFound: no such name or version.
            Conflict: it stands elsewhere.
            PermissionRefused: the name is another organisation's.
        """
        check_alias(alias)
        wanted = target if isinstance(target, Reference) else Reference(name, cid=target)
        if wanted.name != name:
            raise InvalidInput(f"an alias of {name} points to versions of {name}, not of {wanted.name}")
        with self._rows.changing():
            self._owned(name, author or Author(), known=True)
            version = self._resolved(wanted)
            before = self._stands(name, alias, expected)
            if before is None and len(self._rows.aliases(name)) >= MAX_ALIASES:
                raise Exhausted(f"{name} has {MAX_ALIASES} aliases, the most there may be: remove one first")
            move = self._move(name, alias, version.manifest, before, author)
        self._tell(move)
        return move

    def remove_alias(
        self, name: str, alias: str, author: Author | None = None, expected: Expected = ANYWHERE
    ) -> AliasMove:
        """Take an alias away; its history stays.

        Raises:
            NotFound: no such name or alias.
            Conflict: it stands elsewhere than expected.
            PermissionRefused: the name is another organisation's.
        """
        with self._rows.changing():
            self._owned(name, author or Author(), known=True)
            before = self._stands(name, alias, expected)
            if before is None:
                raise self._no_alias(name, alias)
            move = self._move(name, alias, None, before, author)
        self._tell(move)
        return move

    def rollback(
        self, name: str, alias: str, author: Author | None = None, expected: Expected = ANYWHERE
    ) -> AliasMove:
        """Put an alias back where it stood before; rolled back again, one step further, up to its first version.

        Raises:
            NotFound: no such alias, or it has never stood elsewhere.
            Conflict: it stands elsewhere than expected, or the version it would go to was removed.
            PermissionRefused: the name is another organisation's.
        """
        with self._rows.changing():
            self._owned(name, author or Author(), known=True)
            before = self._stands(name, alias, expected)
            if before is None:
                raise self._no_alias(name, alias)
            target = previous_target([one for one in self._rows.moves(name) if one.alias == alias])
            if target is None:
                raise NotFound(
                    f"{name}@{alias} has never stood on another version: there is nothing to go back to",
                    name=name,
                )
            if self._rows.version_of(name, target) is None:
                raise Conflict(
                    f"{name}@{alias} stood on {target.text} before, which was removed: move it by tag"
                )
            move = self._move(name, alias, target, before, author, back=True)
        self._tell(move)
        return move

    def aliases(self, name: str) -> dict[str, Cid]:
        """Return where the aliases of a name stand.

        Raises:
            NotFound: nobody has added the name.
        """
        with self._rows.reading():
            self._known(name)
            return self._rows.aliases(name)

    def history(self, name: str, alias: str = "") -> tuple[AliasMove, ...]:
        """Return the moves of one alias or all aliases of a name, oldest first.

        Raises:
            NotFound: nobody has added the name.
        """
        with self._rows.reading():
            self._known(name)
            return tuple(one for one in self._rows.moves(name) if not alias or one.alias == alias)

    def subscribe(self, on_move: OnMove) -> Callable[[], None]:
        """Call somebody after each move made through this object; return what ends that.

        It is called on the thread that moved. Moves of other processes are seen by `moves_after`.
        """
        with self._lock:
            self._listeners.append(on_move)

        def unsubscribe() -> None:
            with self._lock:
                if on_move in self._listeners:
                    self._listeners.remove(on_move)

        return unsubscribe

    def moves_after(self, sequence: int, limit: int = 1000) -> tuple[AliasMove, ...]:
        """Return the moves of all names with a higher sequence, whichever process made them, oldest first."""
        with self._rows.reading():
            return tuple(self._rows.moves_after(sequence, limit))

    # Licences and collection

    def accept(self, who: str, expression: str, manifest: Cid) -> None:
        """Record that somebody accepted the licence of a version."""
        with self._rows.changing():
            self._rows.accept(who, expression, manifest, self._clock.now())

    def accepted(self, who: str, manifest: Cid) -> str:
        """Return the licence that somebody accepted for a version, empty for none."""
        with self._rows.reading():
            return self._rows.accepted(who, manifest)

    def manifests(self) -> frozenset[Cid]:
        """Return the manifests of all versions of all names."""
        with self._rows.reading():
            return frozenset(self._rows.all_manifests())

    def roots(self) -> tuple[Cid, ...]:
        """Return the manifests of all versions and the roots of all deltas: what a collection must keep."""
        with self._rows.reading():
            return (*self._rows.all_manifests(), *self._rows.all_deltas())

    def _known(self, name: str) -> Model:
        found = self._rows.model(name)
        if found is None:
            names = [one.name for one in self._rows.models()]
            raise NotFound(f"there is no model {name!r} here; {hint(name, names)}", name=name)
        return found

    def _owned(self, name: str, author: Author, known: bool = False) -> Model:
        found = self._known(name) if known else self._rows.model(name)
        if found is None:
            return Model(name, author.organisation, None, self._clock.now())
        if author.organisation and found.organisation != author.organisation:
            raise PermissionRefused(
                f"the model {name} belongs to {found.organisation or 'the owner of this repository'}: "
                "publish under a name of your own",
                name=name,
            )
        return found

    def _resolved(self, wanted: Reference) -> Version:
        name = wanted.name
        if wanted.cid is not None:
            found = self._rows.version_of(name, wanted.cid)
        elif wanted.number:
            found = self._rows.version(name, wanted.number)
        elif wanted.alias:
            target = self._rows.alias(name, wanted.alias)
            if target is None:
                raise self._no_alias(name, wanted.alias)
            found = self._rows.version_of(name, target)
        else:
            found = self._rows.newest(name)
        if found is None:
            numbers: Iterable[str] = [f"v{one.number}" for one in self._rows.versions(name)[-3:]]
            raise NotFound(
                f"no version {wanted}; the newest: {', '.join(numbers) or 'none'}",
                reference=str(wanted),
            )
        return found

    def _stands(self, name: str, alias: str, expected: Expected) -> Cid | None:
        now = self._rows.alias(name, alias)
        if not isinstance(expected, _Anywhere) and now != expected:
            raise Conflict(
                f"{name}@{alias} stands on {now.text if now else 'nothing'}, not on "
                f"{expected.text if expected else 'nothing'}: somebody else has moved it; see `farlane models log "
                f"{name}` and move it again if you still want to",
                name=name,
                alias=alias,
            )
        return now

    def _move(
        self,
        name: str,
        alias: str,
        target: Cid | None,
        before: Cid | None,
        author: Author | None,
        back: bool = False,
    ) -> AliasMove:
        sequence, now = self._rows.next_sequence(), self._clock.now()
        move = AliasMove(sequence, name, alias, target, before, author or Author(), now, back)
        self._rows.add_move(move)
        return move

    def _tell(self, move: AliasMove) -> None:
        with self._lock:
            listeners = tuple(self._listeners)
        for one in listeners:
            one(move)

    def _no_alias(self, name: str, alias: str) -> NotFound:
        known = [*self._rows.aliases(name), NEWEST]
        return NotFound(f"{name} has no alias {alias!r}; {hint(alias, known)}", name=name, alias=alias)
