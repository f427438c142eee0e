"""What the house tests look at: the files of this checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def checkout_files() -> list[Path]:
    """Every file that is or would be committed; generated and ignored ones left out."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files belong to the project is not known")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in files if path.is_file() and not path.is_symlink()]


@pytest.fixture(scope="session")
def sources() -> list[Path]:
    """The package's own modules, without the generated ones."""
    package = ROOT / "src/farlane"
    made = package / "wire/v1", package / "hub/gateway/oip"
    return sorted(path for path in package.rglob("*.py") if not any(map(path.is_relative_to, made)))
