"""Writing a report: `index.html` for people, `results.json` for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from farlane.errors import InvalidInput
from farlane.lab.evaluation.assessment import Assessment
from farlane.lab.evaluation.report.page import page

PAGE, RESULTS = "index.html", "results.json"


def make_directory(directory: Path) -> None:
    """Make the directory of a report where it is missing, before hours are spent on what goes into it.

    Raises:
        InvalidInput: nothing can be written there.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / RESULTS).touch()
    except OSError as error:
        raise InvalidInput(
            f"cannot write a report into {directory}: {error.strerror}; name a directory with `-o`"
        ) from error


def write_report(assessment: Assessment, directory: Path, title: str) -> Path:
    """Write a report into a directory; returns the page.

    Raises:
        InvalidInput: it cannot be written there.
        NotFound: matplotlib is not installed.
    """
    make_directory(directory)
    (directory / PAGE).write_text(page(assessment, title), encoding="utf-8")
    (directory / RESULTS).write_text(json.dumps(results(assessment), indent=1) + "\n", encoding="utf-8")
    return directory / PAGE


def results(assessment: Assessment) -> dict[str, Any]:
    """Return all tables of an assessment as plain values."""
    return {
        "held_out": [asdict(each) for each in assessment.held_out],
        "lists": [asdict(each) for each in assessment.lists],
        "published": [asdict(each) for each in assessment.tables],
        "ablations": [asdict(each) for each in assessment.ablations],
        "latency": [asdict(each) for each in assessment.latency],
        "toys": None if assessment.toys is None else asdict(assessment.toys),
        "seen": list(assessment.seen),
        "bytes": assessment.bytes,
    }
