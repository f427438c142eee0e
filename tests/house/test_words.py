"""What must not stand in a committed file: unfinished work, machine paths, package registries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

BINARY = {".gz", ".zst", ".db", ".sqlite", ".png", ".whl", ".npz", ".npy", ".bin", ".gguf", ".h5", ".patch"}
NOT_OURS = re.compile(r"^src/farlane/((wire/v1|hub/gateway/oip)/.*_pb2|demo/passages\.txt)|^LICENSE$")
RULES = {
    "unfinished work": re.compile(
        r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b|\b(coming soon|lorem ipsum)\b"
    ),
    "a path of one machine": re.compile(r"(?<![\w.])/(work/(main|shared)|root/\.\w|home/[a-z]+/\.pyenv)\b"),
    "a package registry's host": re.compile(
        r"https?://[\w.-]*(pypi|pythonhosted|npmjs|crates\.io|maven|debian\.org/debian)|--(extra-)?index-url\s*[=h]"
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_no_file_mentions(rule: str, checkout_files: list[Path], root: Path) -> None:
    written = [p for p in checkout_files if not NOT_OURS.match(p.relative_to(root).as_posix())]
    files = [p for p in written if p.suffix not in BINARY and p != Path(__file__).resolve()]
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()[:80]}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if RULES[rule].search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("unfinished work", "# TODO: later"),
        ("unfinished work", "raise NotImplementedError"),
        ("a path of one machine", "open('/home/ada/.pyenv/x')"),
        ("a package registry's host", "--index-url=https://example.org"),
        ("a package registry's host", "https://files.pythonhosted.org/x.whl"),
    ],
)
def test_the_rules_find_what_they_look_for(rule: str, line: str) -> None:
    assert RULES[rule].search(line)
