"""Planted bugs: every mutant of the reactor is found by the tests that guard against it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.hub.account_mutants import ACCOUNT_MUTANTS
from tests.hub.mutants import EXAMPLE, PROPERTY
from tests.hub.planting import Mutant

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "farlane"
MUTANTS = PROPERTY + EXAMPLE + ACCOUNT_MUTANTS
SHARES = 3
TODAY = datetime.now(UTC).toordinal() % SHARES


def run(directory: Path, tests: list[str], mutant: Mutant | None = None) -> subprocess.CompletedProcess[str]:
    """Run tests against a copy of the sources in `directory`, with a planted bug or without."""
    shutil.copytree(SOURCE, directory / "farlane", ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        path = directory / "farlane" / mutant.file
        path.write_text(path.read_text().replace(mutant.old, mutant.new))
    options = [
        "-x",
        "-q",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        "--hypothesis-seed=0",
        "-o",
        f"pythonpath={directory}",
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)],
        cwd=ROOT, env=os.environ | {"FARLANE_MUTANT": "1", "FARLANE_EXAMPLES": "600", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def survivors(directory: Path, mutants: list[Mutant]) -> list[str]:
    """Return those of some mutants that no test found."""

    def survives(number: int) -> bool:
        done = run(directory / str(number), [mutants[number].tests], mutants[number])
        # A failed test, not one that could not even be collected.
        return done.returncode != 1 or re.search(r"\b\d+ failed", done.stdout) is None

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = list(pool.map(survives, range(len(mutants))))
    return [mutant.name for mutant, alive in zip(mutants, found, strict=True) if alive]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_still_has_its_place(mutant: Any) -> None:
    assert (SOURCE / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert (ROOT / "tests" / mutant.tests).exists()


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_third_of_the_mutants_is_found_each_day(tmp_path: Path) -> None:
    assert survivors(tmp_path, list(MUTANTS[TODAY::SHARES])) == []


@pytest.mark.soak
def test_all_mutants_are_found(tmp_path: Path) -> None:
    assert survivors(tmp_path, list(MUTANTS)) == []


@pytest.mark.soak
def test_without_a_bug_the_same_tests_pass(tmp_path: Path) -> None:
    done = run(tmp_path, sorted({mutant.tests for mutant in MUTANTS}))
    assert done.returncode == 0, done.stdout
