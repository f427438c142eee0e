"""Collecting output files: only plain files, by no link, within caps, whatever a script has planted."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from farlane.errors import InvalidInput, NotFound, TooLarge
from farlane.node.executors.output_files import collect_outputs
from farlane.node.executors.port import OutputFile

Collect = Callable[..., tuple[OutputFile, ...]]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    for path, text in {
        "a.txt": "a",
        "b.log": "b",
        "d/a.txt": "da",
        "d/e/a.txt": "dea",
        "d/e/f.bin": "f",
    }.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    return work


@pytest.fixture
def collect(work: Path, tmp_path: Path) -> Collect:
    def collect(*patterns: str, max_file_bytes: int = 1000, max_files: int = 100) -> tuple[OutputFile, ...]:
        destination = str(tmp_path / "collected")
        return collect_outputs(
            str(work), patterns, destination, max_file_bytes=max_file_bytes, max_files=max_files
        )

    return collect


def paths(files: tuple[OutputFile, ...]) -> list[str]:
    return [file.path for file in files]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.txt", ["a.txt"]),
        ("./d//a.txt", ["d/a.txt"]),
        ("*.txt", ["a.txt"]),
        ("?.*", ["a.txt", "b.log"]),
        ("[ab].txt", ["a.txt"]),
        ("[!a].*", ["b.log"]),
        ("*/a.txt", ["d/a.txt"]),
        ("**/a.txt", ["a.txt", "d/a.txt", "d/e/a.txt"]),
        ("d/**/*.txt", ["d/a.txt", "d/e/a.txt"]),
        ("d/**", ["d/a.txt", "d/e/a.txt", "d/e/f.bin"]),
        ("**/**/e/*", ["d/e/a.txt", "d/e/f.bin"]),
        ("d", ["d/a.txt", "d/e/a.txt", "d/e/f.bin"]),
        ("*.nothing", []),
    ],
)
def test_patterns_match_as_shells_do(collect: Collect, pattern: str, expected: list[str]) -> None:
    assert paths(collect(pattern)) == expected


def test_files_are_moved_to_a_flat_place_of_our_own(collect: Collect, work: Path, tmp_path: Path) -> None:
    [file] = collect("d/e/a.txt", "**/e/a.*")
    assert Path(file.file).parent == tmp_path / "collected"
    assert Path(file.file).read_text() == "dea"
    assert file.size_bytes == 3
    assert not (work / "d/e/a.txt").exists()


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../x", "d/../../x", "", ".", "a\0b"])
def test_a_pattern_that_leads_outside_is_refused(collect: Collect, pattern: str) -> None:
    with pytest.raises(InvalidInput, match="relative path"):
        collect(pattern)


def test_too_many_spans_are_refused(collect: Collect) -> None:
    with pytest.raises(InvalidInput, match="fewer"):
        collect("**/a/**/b/**/c/**/d")


@pytest.mark.parametrize("path", ["nope.txt", "no/such"])
def test_a_plain_path_that_names_nothing_is_told(collect: Collect, path: str) -> None:
    with pytest.raises(NotFound, match=f"'{path}' does not exist"):
        collect(path)


def test_a_named_link_fails_and_a_glob_passes_it_by(work: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("keep out")
    (work / "loot").symlink_to(secret)
    (work / "up").symlink_to(tmp_path)
    for number, pattern in enumerate(("loot", "up/secret", "up")):
        with pytest.raises(InvalidInput, match="plain file"):
            collect_outputs(str(work), [pattern], str(tmp_path / str(number)), max_file_bytes=99, max_files=9)
    found = collect_outputs(str(work), ["**"], str(tmp_path / "all"), max_file_bytes=99, max_files=9)
    assert paths(found) == ["a.txt", "b.log", "d/a.txt", "d/e/a.txt", "d/e/f.bin"]
    assert secret.read_text() == "keep out"


def test_a_link_in_place_of_the_working_directory_is_not_followed(work: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(work)
    with pytest.raises(OSError, match="link"):
        collect_outputs(str(link), ["*"], str(tmp_path / "x"), max_file_bytes=99, max_files=9)


def test_pipes_and_sockets_are_not_opened(work: Path, tmp_path: Path) -> None:
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(work / "socket"))
        for number, name in enumerate(("pipe", "socket")):
            with pytest.raises(InvalidInput, match="plain file"):
                collect_outputs(
                    str(work), [name], str(tmp_path / str(number)), max_file_bytes=99, max_files=9
                )
        found = collect_outputs(str(work), ["*"], str(tmp_path / "all"), max_file_bytes=99, max_files=9)
    assert paths(found) == ["a.txt", "b.log"]


def test_caps_are_kept(collect: Collect, work: Path, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="at most 2"):
        collect("d/e/a.txt", max_file_bytes=2)
    with pytest.raises(TooLarge, match="more than 3 output files"):
        collect_outputs(str(work), ["**"], str(tmp_path / "other"), max_file_bytes=99, max_files=3)


def test_a_sparse_file_counts_with_its_full_size(collect: Collect, work: Path) -> None:
    with (work / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(TooLarge):
        collect("sparse")
