"""`farlane models` on private versions: as their owner, a recipient and a stranger type it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from farlane.cli.main import main

SECRET = np.arange(40_000, dtype=np.float32)


class Person:
    """Types commands with a data directory of their own, on a repository that all share."""

    def __init__(self, directory: Path, repository: Path, patch: pytest.MonkeyPatch, said: Any) -> None:
        self._directory, self._repository, self._patch, self._said = directory, repository, patch, said
        self.key = self.read("recipient", shared=False)["recipient"]

    def __call__(self, command: str, *arguments: object, code: int = 0, shared: bool = True) -> str:
        self._patch.setenv("FARLANE_DIR", str(self._directory))
        where = ("--repository", self._repository) if shared else ()
        found = main(["models", command, *map(str, (*arguments, *where))])
        said = self._said.readouterr()
        assert found == code, said.err
        return str(said.out if code == 0 else said.err)

    def read(self, command: str, *arguments: object, shared: bool = True) -> Any:
        return json.loads(self(command, *arguments, "--json", shared=shared))


@pytest.fixture
def people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Person]:
    repository = tmp_path / "repository"
    return {name: Person(tmp_path / name, repository, monkeypatch, capsys) for name in ("ada", "bob", "eve")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mini").mkdir()
    save_file({"a": SECRET}, tmp_path / "mini" / "m.safetensors")
    (tmp_path / "mini" / "config.json").write_text("{}")
    return tmp_path / "mini"


def added(people: dict[str, Person], folder: Path, *options: str) -> None:
    people["ada"]("add", folder, "lab/mini", "--private", "--recipient", people["bob"].key, *options)


def test_recipients_export_it_and_strangers_learn_whom_to_ask(
    people: dict[str, Person], folder: Path, tmp_path: Path
) -> None:
    added(people, folder)
    people["bob"]("export", "lab/mini", tmp_path / "plain")
    found = tmp_path / "plain" / "m.safetensors"
    assert found.read_bytes() == (folder / "m.safetensors").read_bytes()
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o700
    said = people["eve"]("export", "lab/mini", tmp_path / "stolen", code=1)
    assert f"ask its publisher to share it with {people['eve'].key}" in said
    assert not (tmp_path / "stolen").exists()
    secret = SECRET.tobytes()[4000:4064]
    assert not any(
        secret in path.read_bytes() for path in (tmp_path / "repository").rglob("*") if path.is_file()
    )


def test_who_reads_a_version_is_shown_and_what_is_in_it_to_those(
    people: dict[str, Person], folder: Path
) -> None:
    added(people, folder)
    shown = people["ada"]("show", "lab/mini")
    assert f"{people['ada'].key} (you)" in shown
    assert people["bob"].key in shown
    assert "m.safetensors" in shown
    assert "m.safetensors" not in people["eve"]("show", "lab/mini")


def test_a_version_is_shared_and_taken_back(people: dict[str, Person], folder: Path, tmp_path: Path) -> None:
    ada, eve = people["ada"], people["eve"]
    added(people, folder)
    assert ada("share", "lab/mini", "--with", eve.key, "--tag", "champion").startswith("lab/mini@v2 ")
    eve("export", "lab/mini@champion", tmp_path / "shared")
    assert ada.read("share", "lab/mini", "--with", eve.key)["new"] is False
    assert ada.read("revoke", "lab/mini", "--from", eve.key)["recipients"] == 2
    assert "not shared with you" in eve("export", "lab/mini", tmp_path / "later", code=1)
    people["bob"]("export", "lab/mini", tmp_path / "new" / "plain")
    assert "say with whom" in ada("share", "lab/mini", code=1)
    assert "say from whom" in ada("revoke", "lab/mini", code=1)


def test_a_new_key_reads_what_was_shared_with_the_old_one(
    people: dict[str, Person], folder: Path, tmp_path: Path
) -> None:
    added(people, folder)
    bob = people["bob"]
    assert bob.read("recipient", "--new", shared=False)["recipient"] != bob.key
    bob("export", "lab/mini", tmp_path / "plain")


def test_versions_that_one_can_read_are_compared_by_what_is_in_them(
    people: dict[str, Person], folder: Path
) -> None:
    added(people, folder)
    (folder / "config.json").write_text('{"second": 1}')
    added(people, folder)
    found = people["bob"].read("diff", "lab/mini@v1", "lab/mini")
    assert [(one["path"], one["change"]) for one in found["files"]] == [("config.json", "changed")]
    stranger = people["eve"].read("diff", "lab/mini@v1", "lab/mini")
    assert {one["path"] for one in stranger["files"]} == {f"{at:06d}.private" for at in range(3)}


def test_a_private_name_is_never_continued_in_public(people: dict[str, Person], folder: Path) -> None:
    ada = people["ada"]
    added(people, folder)
    assert "lab/mini is private" in ada("add", folder, "lab/mini", code=1)
    ada("add", folder, "lab/open")
    assert "has a public version" in ada("add", folder, "lab/open", "--private", code=1)
    assert "add --private" in ada("add", folder, "lab/other", "--recipient", ada.key, code=1)


@pytest.mark.parametrize("layout", ["oci", "ollama"])
def test_a_private_version_goes_into_no_layout_for_others(
    people: dict[str, Person], folder: Path, tmp_path: Path, layout: str
) -> None:
    added(people, folder)
    said = people["ada"]("export", "lab/mini", tmp_path / "out", "--as", layout, code=1)
    assert "lab/mini is private" in said
    assert not (tmp_path / "out").exists()


def test_a_private_version_is_pulled_checked_and_removed_as_any_other(
    people: dict[str, Person], folder: Path, tmp_path: Path
) -> None:
    added(people, folder)
    eve, source = people["eve"], tmp_path / "repository"
    eve("pull", "lab/mini", "--from", source, shared=False)
    assert eve("verify", shared=False) == "1 version checked, no fault\n"
    assert eve("log", "lab/mini", shared=False)
    eve("rm", "lab/mini@v1", shared=False)
    assert eve("gc", "--spare", "1ms", shared=False).startswith("3 files")
    people["bob"]("pull", "lab/mini", "--from", source, shared=False)
    people["bob"]("export", "lab/mini", tmp_path / "plain", shared=False)


def test_nobody_shares_what_they_cannot_read(people: dict[str, Person], folder: Path) -> None:
    added(people, folder)
    assert "not shared with you" in people["eve"]("share", "lab/mini", "--with", people["eve"].key, code=1)
    assert "is no recipient" in people["ada"]("share", "lab/mini", "--with", "rcpt-nobody", code=1)
