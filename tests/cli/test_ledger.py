"""`farlane ledger audit` and `farlane receipt verify` on files: what they print, and their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farlane.cli.main import main
from farlane.ledger.record import Entry, RecordHeader, RecordLeaves, line_of
from farlane.ledger.record_file import write_record
from farlane.ledger.typed_data import Domain
from farlane.testing.signed_books import UNITS_PER_CREDIT, a_key, filled_book, record_of

HEADER = RecordHeader(Domain(31337, a_key(999).address, "ab" * 16), UNITS_PER_CREDIT)


def write(path: Path, record: list[Entry]) -> Path:
    write_record(path, HEADER, map(line_of, record[1:]))
    return path


@pytest.fixture
def record() -> list[Entry]:
    return list(record_of(HEADER, filled_book(1, HEADER.domain)))


@pytest.fixture
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be a minute after the books were written."""
    monkeypatch.setattr("farlane.cli.auditing.time.time", lambda: 1_800_000_060.0)


@pytest.mark.usefixtures("long_ago")
def test_an_honest_record_is_clean(
    tmp_path: Path, record: list[Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "record.gz", record)
    assert main(["ledger", "audit", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "1 book, 12 leaves, 3 vouchers" in shown
    assert "nothing deviates in the record" in shown
    assert main(["ledger", "audit", str(file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["clean"]
    assert answer["totals"]["owed_nano"] == 12 * 8334
    assert answer["deviations"] == []


@pytest.mark.usefixtures("long_ago")
def test_a_dropped_batch_is_listed(
    tmp_path: Path, record: list[Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    second = [entry for entry in record if isinstance(entry, RecordLeaves)][1]
    file = write(tmp_path / "record.gz", [entry for entry in record if entry is not second])
    assert main(["ledger", "audit", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "root-mismatch" in shown
    assert "the leaves in the record are not those that both sides signed" in shown
    assert "DEVIATES" in shown
    assert main(["ledger", "audit", str(file), "--json"]) == 1
    first = json.loads(capsys.readouterr().out)["deviations"][0]
    assert set(first) == {"severity", "code", "where", "expected", "found", "meaning"}


@pytest.mark.usefixtures("long_ago")
def test_a_file_that_is_no_receipt_is_named(
    tmp_path: Path, record: list[Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "record.gz", record)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/odd.json").write_text("{}")
    assert main(["ledger", "audit", str(file), "--receipts", str(tmp_path / "kept")]) == 1
    assert "odd.json: this is not a receipt" in capsys.readouterr().err


def test_what_cannot_be_asked_is_refused(
    tmp_path: Path, record: list[Entry], refused: Callable[..., str]
) -> None:
    file = write(tmp_path / "record.gz", record)
    assert "belong together" in refused("ledger", "audit", str(file), "--rpc", "http://127.0.0.1:9")
    file.write_bytes(file.read_bytes()[:-9])
    assert "cut off" in refused("ledger", "audit", str(file))


def test_a_receipt_is_fetched_verified_and_found_in_the_record(
    network: Any, eventually: Callable[[Callable[[], bool]], None], tmp_path: Path
) -> None:
    network("run", "-y", "--memory", "64MB", "--", "echo", "hello")
    task = f"{network.json('ps', '--all')[0]['job']}.0"

    def signed() -> bool:
        command = [sys.executable, "-m", "farlane.cli.main", "receipt", "get", task, "-o", str(tmp_path)]
        done = subprocess.run(command, env=network.environment, check=False, timeout=60, capture_output=True)
        return done.returncode == 0

    eventually(signed)
    file = tmp_path / f"{task}.receipt.json"
    assert "NOT VALID" not in network("receipt", "verify", str(file)).stdout
    network("ledger", "export", str(tmp_path / "record.gz"))
    network("ledger", "audit", str(tmp_path / "record.gz"), "--receipts", str(tmp_path))
