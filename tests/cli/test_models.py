"""`farlane models`: as somebody types it, on repositories on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from farlane.cli.main import main
from farlane.models import deltas
from farlane.models.catalog.values import DeltaRow
from farlane.models.repository import Repository
from farlane.testing.tensor_files import moved, weights


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path / "farlane"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mini"
    root.mkdir()
    (root / "README.md").write_text("---\nlicense: gemma\n---\n")
    write(root, 1)
    return root


def write(root: Path, value: int) -> None:
    save_file(
        {"a": np.arange(9, dtype=np.float32), "b": np.full((4, 4), value, np.float32)}, root / "m.safetensors"
    )


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main(["models", *map(str, arguments)]) == code, capsys.readouterr().err
    said = capsys.readouterr()
    return said.out if code == 0 else said.err


def read(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    return json.loads(run(capsys, *arguments, "--json"))


def test_a_model_is_published_updated_compared_and_rolled_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "add", folder, "lab/mini", "--tag", "champion").startswith("lab/mini@v1 bafyrei")
    write(folder, 2)
    added = read(
        capsys, "add", folder, "lab/mini", "--parent", "finetune=lab/mini@v1", "--metric", "loss=0.5"
    )
    assert added["version"] == 2
    found = read(capsys, "diff", "lab/mini@v1", "lab/mini")
    assert [(one["name"], one["change"]) for one in found["files"][0]["tensors"]] == [("b", "changed")]
    assert run(capsys, "tag", "lab/mini@v2", "champion", "--expect", "v1") == "lab/mini@champion is v2 now\n"
    assert "somebody else has moved it" in run(
        capsys, "tag", "lab/mini@v2", "champion", "--expect", "v1", code=1
    )
    assert run(capsys, "rollback", "lab/mini", "champion") == "lab/mini@champion is v1 now\n"
    assert [one["rollback"] for one in read(capsys, "log", "lab/mini")] == [False, False, True]
    assert "rollback" in run(capsys, "log", "lab/mini")
    assert read(capsys, "ls")[0]["aliases"] == ["champion"]
    assert "v1" in run(capsys, "ls", "lab/mini")
    assert run(capsys, "lineage", "lab/mini@v2") == "lab/mini@v2\n└─ finetune of lab/mini@v1\n"
    shown = run(capsys, "show", "lab/mini@v2")
    assert "LicenseRef-gemma (to be accepted)" in shown
    assert "metric loss" in shown


def test_a_licence_is_accepted_before_an_export(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "add", folder, "mini")
    said = run(capsys, "export", "mini", tmp_path / "out", code=1)
    assert "farlane models accept mini@v1 --licence LicenseRef-gemma" in said
    assert "not MIT" in run(capsys, "accept", "mini", "--licence", "MIT", code=1)
    run(capsys, "accept", "mini", "--licence", "LicenseRef-gemma")
    run(capsys, "export", "mini", tmp_path / "out")
    assert (tmp_path / "out/m.safetensors").read_bytes() == (folder / "m.safetensors").read_bytes()
    run(capsys, "export", "mini", tmp_path / "layout", "--as", "oci")
    run(capsys, "add", tmp_path / "layout", "again", "--from", "oci")
    assert (
        read(capsys, "show", "again")["manifest"]["root"] == read(capsys, "show", "mini")["manifest"]["root"]
    )


def test_a_version_is_pulled_and_checked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = ("--repository", tmp_path / "here"), ("--repository", tmp_path / "there")
    (tmp_path / "here").mkdir()
    run(capsys, "add", folder, "mini", "--licence", "MIT", *here)
    assert run(capsys, "pull", "mini", "--from", tmp_path / "here", *there).startswith("mini@v1 bafyrei")
    assert run(capsys, "verify", *there) == "1 version checked, no fault\n"
    run(capsys, "rm", "mini@v1", *there)
    assert read(capsys, "ls", *there)[:] == []


def tuned(folder: Path, share: float) -> None:
    save_file({"w": moved(weights(3000, dtype=np.float32), share)}, folder / "m.safetensors")


def test_a_delta_is_made_told_and_pulled(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ("--repository", tmp_path / "there")
    tuned(folder, 0)
    run(capsys, "add", folder, "mini", "--licence", "MIT")
    run(capsys, "pull", "mini", "--from", tmp_path / "farlane/models", *there)
    tuned(folder, 0.001)
    assert "as a delta from mini@v1" in run(capsys, "add", folder, "mini", "--licence", "MIT")
    (cost,) = read(capsys, "show", "mini")["updates"]
    assert (cost["name"], cost["version"]) == ("mini", 1)
    assert 300_000 < cost["delta"]["size_bytes"] < 0.8 * cost["block_bytes"]
    assert read(capsys, "diff", "mini@v1", "mini@v2")["update"] == cost
    assert " in blocks, " in run(capsys, "show", "mini")
    assert run(capsys, "diff", "mini@v2", "mini@v1").endswith(" in blocks, no delta\n")
    run(capsys, "pull", "mini", "--from", tmp_path / "farlane/models", *there)
    assert read(capsys, "show", "mini", *there)["updates"] == [cost]
    run(capsys, "rm", "mini@v1")
    assert read(capsys, "show", "mini")["updates"] == []


def test_an_alias_moves_once_there_are_deltas_for_those_who_follow_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, "add", folder, "mini", "--tag", "champion")
    write(folder, 2)
    make_all, places = deltas.make_all, []

    def making(repository: Repository, *arguments: Any) -> tuple[DeltaRow, ...]:
        places.append(repository.catalog.resolve("mini@champion").number)
        return make_all(repository, *arguments)

    monkeypatch.setattr(deltas, "make_all", making)
    run(capsys, "add", folder, "mini", "--tag", "champion")
    assert places == [1]
    assert read(capsys, "show", "mini@champion")["version"] == 2


def test_no_delta_is_made_where_none_is_wanted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for share in (0, 0.001):
        tuned(folder, share)
        assert read(capsys, "add", folder, "mini", "--no-delta")["deltas"] == []


def test_a_parent_of_another_name_is_a_base(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned(folder, 0)
    parent = read(capsys, "add", folder, "mini")
    tuned(folder, 0.001)
    child = read(capsys, "add", folder, "child", "--parent", "finetune=mini@v1")
    assert [one["base"] for one in child["deltas"]] == [parent["cid"]]


def test_a_drawing_goes_to_its_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "add", folder, "mini")
    run(capsys, "lineage", "mini", "--svg", tmp_path / "mini.svg")
    assert (tmp_path / "mini.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "nothing"), "there is no model 'nothing'"),
        (("add", ".", "Bad Name"), "no name for a model"),
        (("tag", "mini", "v1"), "no name for an alias"),
        (("trust", "mini", "0x12"), "not an address"),
        (("push", "mini", "--expect", "v1"), "--expect says where the alias of --tag must stand"),
    ],
)
def test_mistakes_say_what_was_wrong(
    arguments: tuple[str, ...], words: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    run(capsys, "add", folder, "mini")
    assert words in run(capsys, *arguments, code=1)
