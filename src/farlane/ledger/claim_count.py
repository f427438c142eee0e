"""Counts of what a provider has claimed, for its metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ClaimCount:
    """What a watcher has claimed since its process began.

    claims, units: vouchers settled, and what was new in them; refused: vouchers that the contract did not take;
    waiting: claims that cannot go on at present; reachable: whether the last look at the chain succeeded.
    """

    claims: int = 0
    units: int = 0
    refused: int = 0
    waiting: int = 0
    reachable: bool = False
