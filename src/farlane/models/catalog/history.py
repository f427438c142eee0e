"""What the history of an alias tells: where it stood before."""

from __future__ import annotations

from collections.abc import Iterable

from farlane.models.catalog.values import AliasMove
from farlane.models.cid import Cid


def previous_target(moves: Iterable[AliasMove]) -> Cid | None:
    """Return where an alias stood before it was put where it is; None where it never stood elsewhere.

    Moves are a history of places, and a rollback takes the last one out of it: two rollbacks go two steps back.
    """
    places: list[Cid] = []
    for move in moves:
        if move.back and len(places) > 1:
            places.pop()
        elif move.target is not None and (not places or move.target != places[-1]):
            places.append(move.target)
    return places[-2] if len(places) > 1 else None
