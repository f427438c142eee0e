"""The scheduler's random views, for what carries them to another process and judges what comes back."""

from __future__ import annotations

from tests.scheduler.conftest import build, views

__all__ = ["build", "views"]
