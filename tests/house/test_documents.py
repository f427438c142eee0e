"""Documents point at things that exist: files, headings, make targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LINK = re.compile(r"!?\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
MAKE = re.compile(r"(?:^|[\s$;&(])make ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)")


def documents(root: Path) -> list[Path]:
    """README, the changelog and every page under docs/."""
    top = [path for name in ("README.md", "CHANGELOG.md") if (path := root / name).exists()]
    return [*top, *sorted((root / "docs").rglob("*.md"))]


def prose(text: str) -> str:
    """Drop code, where brackets are not links."""
    return CODE.sub("", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """Return the fragment names that a page's headings get."""
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", FENCE.sub("", text), flags=re.MULTILINE)
    explicit = re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(
        explicit
    )


def broken_links(page: Path) -> list[str]:
    """Return the relative links of a page whose file or heading does not exist."""
    broken = []
    for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            broken.append(f"{page.name}: {target}: no such file")
        elif fragment and file.suffix == ".md" and fragment not in anchors(file.read_text(encoding="utf-8")):
            broken.append(f"{page.name}: {target}: no such heading")
    return broken


def make_targets(root: Path) -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text(), flags=re.MULTILINE))


def mentioned_targets(text: str) -> set[str]:
    """Return every X of a `make X` in code, inline or in a block."""
    code = [match.group(0) for match in FENCE.finditer(text)] + CODE.findall(FENCE.sub("", text))
    return {word for block in code for words in MAKE.findall(block) for word in words.split()}


def test_every_relative_link_resolves(root: Path) -> None:
    assert [finding for page in documents(root) for finding in broken_links(page)] == []


def test_every_make_target_that_is_mentioned_exists(root: Path) -> None:
    mentioned = {
        (p.name, t) for p in documents(root) for t in mentioned_targets(p.read_text(encoding="utf-8"))
    }
    assert sorted(pair for pair in mentioned if pair[1] not in make_targets(root)) == []


def test_every_make_target_is_explained(root: Path) -> None:
    text = (root / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.+)$", text, flags=re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## \S", text, flags=re.MULTILINE))
    assert {"setup", "demo", "test", "check"} <= phony
    assert phony == explained


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[a](other.md)", 0),
        ("[a](other.md#the-second-part)", 0),
        ("[a](#here)\n\n# Here", 0),
        ("[a](https://example.org/missing.md)", 0),
        ("`[a](missing.md)`\n\n```\n[a](missing.md)\n```\n", 0),
        ("[a](missing.md)", 1),
        ('![a](missing.png "title")', 1),
        ("[a](other.md#third) [b](#nowhere)", 2),
    ],
)
def test_broken_links_are_found(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "other.md").write_text("# Other\n\n## The second part\n")
    page = tmp_path / "page.md"
    page.write_text(text)
    assert len(broken_links(page)) == count


def test_mentioned_targets_are_found_in_code_only() -> None:
    text = "we make sure\n\n`make demo` and\n\n```console\n$ make setup && make test ARGS=-x\n```\n"
    assert mentioned_targets(text) == {"demo", "setup", "test"}
