"""What placing must know of a version of a model: how much of it a node would have to fetch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One version. relatives: CIDs of the other versions of the same model, with which it may share blocks."""

    size_bytes: int
    relatives: frozenset[str] = frozenset()
