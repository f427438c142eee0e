"""farlane.models.manifest.paths: what a file of a model may be called."""

from __future__ import annotations

import pytest

from farlane.errors import InvalidInput
from farlane.models.manifest.paths import check_path, check_paths


@pytest.mark.parametrize(
    "path",
    ["model.gguf", "onnx/model.onnx", "a/b/c/d.txt", "größe.txt", ".gitattributes", "1_Pooling/config.json"],
)
def test_ordinary_paths_pass(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../secret", "a/../b", "a//b", "a/", "./a", "a/.", "C:/x", "c:\\x", "a\\b", "nul", "NUL.txt",
        "com1", "aux.json", "lpt9.bin", "a\x00b", "a\nb",
        "a\u202eb", "a\u200bb", "trailing ", "trailing.", "x?y", "a|b",
        "x" * 256, "/".join("a" * 40), "y/" * 600, "cafe\u0301", "\ud800",
    ],
)  # fmt: skip
def test_what_leaves_the_folder_or_fits_no_file_system_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="no path for a file"):
        check_path(path)


@pytest.mark.parametrize(
    "paths", [["a", "A"], ["x/B", "X/c"], ["straße", "STRASSE"], ["ﬁle", "file"], ["a", "a/b"], ["a", "a"]]
)
def test_two_names_for_one_file_are_refused(paths: list[str]) -> None:
    with pytest.raises(InvalidInput, match="one file"):
        check_paths(paths)


def test_neighbours_are_no_collision() -> None:
    check_paths(["a/b", "a/c", "ab", "b/a"])
