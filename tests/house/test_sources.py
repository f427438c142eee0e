"""The rules of the house for source files: small, named well, and saying what they hold."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
EMPTY_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}


def offenders(sources: list[Path], rule: Callable[[Path], list[str]]) -> list[str]:
    return [f"{path.name}: {finding}" for path in sources for finding in rule(path)]


def test_there_are_sources(sources: list[Path]) -> None:
    assert any(path.name == "errors.py" for path in sources)


def test_no_file_is_too_long(sources: list[Path]) -> None:
    def rule(path: Path) -> list[str]:
        count = len(path.read_text().splitlines())
        return [f"{count} lines, at most {MAX_FILE_LINES}"] if count > MAX_FILE_LINES else []

    assert offenders(sources, rule) == []


def test_no_function_is_too_long(sources: list[Path]) -> None:
    def rule(path: Path) -> list[str]:
        functions = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        sizes = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
        return [f"{name} has {size} lines" for name, size in sizes.items() if size > MAX_FUNCTION_LINES]

    assert offenders(sources, rule) == []


def test_every_module_says_in_its_docstring_what_lives_there(sources: list[Path]) -> None:
    def rule(path: Path) -> list[str]:
        first_line = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        return [] if first_line else ["no module docstring"]

    assert offenders(sources, rule) == []


def test_every_module_with_code_has_late_annotations(sources: list[Path]) -> None:
    def rule(path: Path) -> list[str]:
        text = path.read_text()
        only_docstring = len(ast.parse(text).body) <= 1
        return (
            [] if only_docstring or "from __future__ import annotations" in text else ["no __future__ import"]
        )

    assert offenders(sources, rule) == []


def test_no_file_has_a_name_that_says_nothing(sources: list[Path]) -> None:
    assert [path.name for path in sources if path.stem in EMPTY_NAMES] == []
    assert [path.name for path in sources if path.parent.name in EMPTY_NAMES] == []


def test_every_folder_with_modules_is_a_package(sources: list[Path]) -> None:
    folders = {path.parent for path in sources}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []
