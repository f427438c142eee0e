"""The tutorials are typed for real: every block marked `<!-- run -->` runs, and every line it shows must come out.

Markers before a block: `<!-- run -->` types its `$ ` lines into one shell; `until` repeats the block until its lines
come; `exit=1` expects its last command to fail; `append="--port 0"` adds that to its first. `<!-- file NAME -->` writes
the block. In a shown line `...` stands for anything, and any white space is as good as another.
"""

from __future__ import annotations

import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

BLOCK = re.compile(r"<!-- (run|file)\b([^>]*) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND_TIMEOUT_S = 40.0
UNTIL_S = 30.0
POLL_S = 0.2
DONE = "tutorial-command-ended-with"


@dataclass
class Step:
    """One command and the lines that must come out."""

    command: str
    lines: list[str] = field(default_factory=list)


@dataclass
class Block:
    """One marked block: a file to write, or commands to type."""

    kind: str
    options: dict[str, str]
    body: str

    def steps(self) -> list[Step]:
        steps: list[Step] = []
        for line in self.body.splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:]))
            elif line.strip(". "):
                steps[-1].lines.append(line)
        if "append" in self.options:
            steps[0].command += " " + self.options["append"]
        return steps


def blocks_of(text: str) -> list[Block]:
    found = []
    for kind, options, body in BLOCK.findall(text):
        pairs = [word.partition("=") for word in shlex.split(options)]
        found.append(Block(kind, {key: value for key, _, value in pairs}, body))
    return found


def pattern(shown: str) -> re.Pattern[str]:
    words = [r".*?".join(map(re.escape, word.split("..."))) for word in shown.split()]
    return re.compile(r"\s+".join(words).replace(r".*?\s+", r".*?\s*").replace(r"\s+.*?", r"\s*.*?"))


def missing(lines: list[str], output: str) -> list[str]:
    """Return the shown lines that are not in the output, each whole."""
    came = [line.strip() for line in output.splitlines()]
    return [line for line in lines if not any(pattern(line).fullmatch(each) for each in came)]


class Shell:
    """One bash for the whole tutorial, so that variables and background jobs live on."""

    def __init__(self, directory: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FARLANE_")}
        environment["HOME"] = str(directory)
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def type(self, command: str) -> tuple[int, str]:
        """Run a command; returns its exit code and what it wrote to both streams."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\necho {DONE} $?\n")
        self._process.stdin.flush()
        end = time.monotonic() + COMMAND_TIMEOUT_S
        output = ""
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"`{command}` did not end within {COMMAND_TIMEOUT_S:.0f} s; it wrote:\n{output}")
            before, ended, code = line.partition(DONE)
            output += before
            if ended:
                return int(code), output

    def close(self) -> None:
        """Kill it with what it left in the background."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(COMMAND_TIMEOUT_S)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    found = Shell(tmp_path)
    try:
        yield found
    finally:
        found.close()
        home = {**os.environ, "HOME": str(tmp_path), "FARLANE_DIR": str(tmp_path / ".farlane")}
        stop = [sys.executable, "-m", "farlane.cli.main", "down"]
        subprocess.run(stop, env=home, capture_output=True, timeout=60, check=False)


def run_block(shell: Shell, block: Block) -> None:
    steps = block.steps()
    for step in steps:
        code, output = shell.type(step.command)
        wanted = int(block.options.get("exit", "0")) if step is steps[-1] else 0
        absent = missing(step.lines, output)
        assert (code, absent) == (wanted, []), (
            f"$ {step.command}\n{output}\nexit code {code}; not there: {absent}"
        )


def run_until(shell: Shell, block: Block) -> None:
    end = time.monotonic() + UNTIL_S
    while True:
        try:
            run_block(shell, block)
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(POLL_S)
        else:
            return


@pytest.mark.slow
@pytest.mark.parametrize("page", ["tutorial.md", "tutorial-federation.md", "tutorial-models.md"])
def test_a_tutorial_does_what_it_says(root: Path, tmp_path: Path, shell: Shell, page: str) -> None:
    blocks = blocks_of((root / "docs" / page).read_text(encoding="utf-8"))
    assert len(blocks) > 5
    for block in blocks:
        if block.kind == "file":
            (tmp_path / next(iter(block.options))).write_text(block.body)
        elif "until" in block.options:
            run_until(shell, block)
        else:
            run_block(shell, block)


@pytest.mark.parametrize(
    ("shown", "came", "found"),
    [
        ("hello", "hello", True),
        ("hello", "hello world", False),
        ("hello ...", "hello world", True),
        ("  url   https://...:7717", "  url         https://localhost:7717", True),
        ("j1 ... done", "j1  echo  done", True),
        ("j1 ... done", "j1  echo  failed", False),
        ("in all...; 2 nodes", "in all; 2 nodes", True),
        ("a.b", "axb", False),
    ],
)
def test_a_shown_line_is_found_where_it_is(shown: str, came: str, found: bool) -> None:
    assert (missing([shown], f"first\n{came}\nlast\n") == []) == found


def test_markers_are_read() -> None:
    text = '<!-- run exit=1 append="--port 0" -->\n```console\n$ one\nout\n...\n$ two\n```\n\n```\n$ three\n```\n'
    (block,) = blocks_of(text)
    assert [(step.command, step.lines) for step in block.steps()] == [("one --port 0", ["out"]), ("two", [])]
    assert block.options["exit"] == "1"
