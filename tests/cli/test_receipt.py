"""`farlane receipt`: shows a receipt file and finds what is wrong with it, with and without a chain."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from farlane.cli.main import main
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.leaf import NONE, Leaf, pack
from farlane.ledger.receipt import Receipt, to_json
from farlane.ledger.tree import Tree, leaf_hash
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel, Delegation, TreeHead, Voucher, sign_head, sign_voucher

PAYER, PROVIDER, SESSION = (PrivateKey.from_bytes(bytes([number]) * 32) for number in (1, 2, 3))


def a_receipt() -> Receipt:
    domain = Domain(31337, PAYER.address, "ab" * 16)
    channel = Channel(PAYER.address, PROVIDER.address, SESSION.address, bytes(32))
    leaf = Leaf(
        task=3 << 24 | 7, attempt=1, copy=0, part=0, outcome=1, failure=1, blame=1, spec=b"\1" * 32, model=NONE,
        input=b"\2" * 32, output=NONE, gpu=NONE, cpu_milli=1500, memory_bytes=1 << 30, disk_bytes=0, gpu_count=0,
        lease_ms=1500, hourly_nano=20_000_000, amount_nano=8_334_000, ended_ms=1_800_000_000_000,
    )  # fmt: skip
    tree = Tree([leaf_hash(pack(leaf))])
    return Receipt(
        domain, channel, leaf, 0, (), sign_head(domain, PROVIDER, TreeHead(channel.id, 1, tree.root())),
        Delegation(PROVIDER.address, PROVIDER.address, 0), b"",
        sign_voucher(domain, SESSION, Voucher(channel.id, 8_334_000, 1, tree.root())),
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "receipt.json"
    path.write_bytes(to_json(a_receipt()))
    return path


def test_a_receipt_is_shown_in_words(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receipt", "show", str(file)]) == 0
    shown = capsys.readouterr().out
    for words in ("j3.7", "exception", "publisher", "1.5 cores", "0.008334 credits", PROVIDER.address):
        assert words in shown
    assert main(["receipt", "show", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "j3.7"


def test_an_honest_receipt_is_valid(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receipt", "verify", str(file)]) == 0
    assert "valid, as far as can be seen without a chain" in capsys.readouterr().out


def test_a_forged_receipt_is_not(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = a_receipt()
    cheaper = dataclasses.replace(receipt.leaf, amount_nano=1)
    file.write_bytes(to_json(dataclasses.replace(receipt, leaf=cheaper)))
    assert main(["receipt", "verify", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "NOT VALID" in shown
    assert "the leaf is not in the tree" in shown
    assert main(["receipt", "verify", str(file), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [check["ok"] for check in answer["checks"]].count(False) == 1


def test_what_is_no_receipt_is_an_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("{}")
    assert main(["receipt", "verify", str(file)]) == 1
    assert f"{file}: this is not a receipt; expected JSON with format" in capsys.readouterr().err
    file.write_text("fl1.abc")
    assert main(["receipt", "show", str(file)]) == 1
    assert f"{file}: this is not a receipt" in capsys.readouterr().err


def test_a_chain_that_is_not_there_is_an_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receipt", "verify", str(file), "--rpc", "http://127.0.0.1:9"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err
