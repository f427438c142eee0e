"""scripts/generate_reference.py: the pages are up to date, and nothing people can use lacks a description."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import click
import pytest

from farlane.cli.main import COMMANDS
from farlane.errors import Internal
from farlane.hub.metrics import METRICS
from farlane.node.settings import NodeSettings


@pytest.fixture(scope="module")
def generator(root: Path) -> Iterator[ModuleType]:
    """The script as a module; it finds its neighbour as when it is run."""
    sys.path.insert(0, str(root / "scripts"))
    try:
        found = importlib.util.spec_from_file_location(
            "generate_reference", root / "scripts/generate_reference.py"
        )
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(root / "scripts"))


def test_the_checked_in_pages_are_up_to_date(
    generator: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_named_and_written_again(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--root", str(tmp_path)]) == 0
    assert generator.main(["--root", str(tmp_path), "--check"]) == 0
    pages = tmp_path / "docs/reference"
    (pages / "cli.md").write_text("# Commands of last year\n")
    (pages / "gone.md").write_text("# Nothing makes this page\n")
    assert generator.main(["--root", str(tmp_path), "--check"]) == 1
    assert "cli.md, gone.md; run `make reference`" in capsys.readouterr().err
    assert generator.main(["--root", str(tmp_path)]) == 0
    assert sorted(path.name for path in pages.iterdir()) == sorted(generator.MAKERS)


def test_every_command_setting_and_metric_is_on_its_page(generator: ModuleType) -> None:
    commands, settings, metrics = generator.command_line(), generator.settings(), generator.metrics()
    assert [name for name in COMMANDS if f"## {name}\n" not in commands] == []
    assert "`FARLANE_NODE_CORE_HOUR`" in settings
    assert "`FARLANE_HUB_LEASE_S`" in settings
    assert [metric.name for metric in METRICS if metric.name not in metrics] == []


def test_an_option_without_a_description_is_refused(generator: ModuleType) -> None:
    command = click.Command("paint", help="Paint.", params=[click.Option(["--colour"])])
    with pytest.raises(generator.Undescribed, match="--colour"):
        generator.one_command("paint", command, click.Context(command))


def test_an_argument_that_the_help_does_not_mention_is_refused(generator: ModuleType) -> None:
    command = click.Command("paint", help="Paint.", params=[click.Argument(["wall"])])
    with pytest.raises(generator.Undescribed, match="WALL"):
        generator.one_command("paint", command, click.Context(command))


def test_a_command_without_a_description_is_refused(generator: ModuleType) -> None:
    command = click.Command("paint")
    with pytest.raises(generator.Undescribed, match="command paint"):
        generator.one_command("paint", command, click.Context(command))


def test_a_metric_without_a_description_is_refused(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "HUB_METRICS", (replace(METRICS[0], meaning=" "),))
    assert generator.main(["--check"]) == 1
    assert f"{METRICS[0].name} has no description" in capsys.readouterr().err


def test_a_setting_without_a_description_is_refused(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.kit.settings._docstrings", lambda owner: {})
    with pytest.raises(Internal, match="has no docstring"):
        generator.group("node", NodeSettings)


def test_a_job_key_without_a_description_is_refused(generator: ModuleType) -> None:
    with pytest.raises(generator.Undescribed, match="key colour"):
        generator.key_table(("colour",), {})
    with pytest.raises(generator.Undescribed, match="wall"):
        generator.key_table((), {"wall": ("text", "none", "What to paint.")})
