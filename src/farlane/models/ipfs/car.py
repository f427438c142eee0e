"""The writer of CAR files by the name that the rooms which speak to other peers know it by."""

from __future__ import annotations

from farlane.models.blocks.car import pieces

__all__ = ["pieces"]
