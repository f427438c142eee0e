"""Where a version comes from: its parents and theirs, as a tree of text and as an SVG drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from farlane.errors import FarlaneError
from farlane.models.cid import Cid
from farlane.models.manifest.values import Manifest, Parent
from farlane.models.repository import Repository, read_manifest

MAX_DEPTH: Final = 32
MAX_ANCESTORS: Final = 1000
_ROW: Final = 64
_COLUMN: Final = 300
_BOX: Final = (250, 44)


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A version in a lineage.

    label: its name and number where the repository knows them, else its CID; relation: how the one above it was made
    from it, empty for the first; known: whether its manifest is here; seen: whether it stands in the drawing already,
    so that its parents are not drawn again.
    """

    cid: Cid
    label: str
    relation: str
    parents: tuple[Ancestor, ...]
    known: bool = True
    seen: bool = False


def lineage(repository: Repository, manifest: Manifest, cid: Cid) -> Ancestor:
    """Return a version with its ancestors, as far as their manifests are here; 32 generations and 1000 at most."""
    names = {one.manifest: f"{one.name}@v{one.number}" for one in repository.versions()}
    drawn = {cid}

    def above(parent: Parent, depth: int) -> Ancestor:
        label, relation = names.get(parent.cid, parent.cid.text), parent.relation.value
        if parent.cid in drawn or depth > MAX_DEPTH or len(drawn) >= MAX_ANCESTORS:
            return Ancestor(parent.cid, label, relation, (), seen=True)
        drawn.add(parent.cid)
        try:
            found = read_manifest(repository.blocks, parent.cid)
        except FarlaneError:
            return Ancestor(parent.cid, label, relation, (), known=False)
        return Ancestor(parent.cid, label, relation, tuple(above(one, depth + 1) for one in found.parents))

    label = names.get(cid, manifest.name)
    return Ancestor(cid, label, "", tuple(above(one, 1) for one in manifest.parents))


def as_text(top: Ancestor) -> str:
    """Return the lineage as lines for a terminal."""
    lines: list[str] = []

    def draw(one: Ancestor, lead: str, branch: str) -> None:
        lines.append(f"{lead}{branch}{_title(one)}")
        below = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for at, parent in enumerate(one.parents):
            draw(parent, below, "└─ " if at == len(one.parents) - 1 else "├─ ")

    draw(top, "", "")
    return "\n".join(lines)


def as_svg(top: Ancestor) -> str:
    """Return the lineage as an SVG picture: the version on the left, its parents to the right."""
    boxes: list[tuple[int, int, Ancestor]] = []
    lines: list[tuple[int, int, int, int, str]] = []

    def place(one: Ancestor, column: int, row: int) -> int:
        boxes.append((column, row, one))
        at = row
        for parent in one.parents:
            lines.append((column, row, column + 1, at, parent.relation))
            at = place(parent, column + 1, at)
        return max(at, row + 1)

    rows = place(top, 0, 0)
    columns = 1 + max(column for column, _, _ in boxes)
    drawn = [*(_line(*one) for one in lines), *(_box(*one) for one in boxes)]
    width, height = columns * _COLUMN, rows * _ROW + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _title(one: Ancestor) -> str:
    note = "" if one.known else " (not here)"
    return f"{one.relation + ' of ' if one.relation else ''}{one.label}{note}{' (above)' if one.seen else ''}"


def _box(column: int, row: int, one: Ancestor) -> str:
    width, height = _BOX
    x, y = 10 + column * _COLUMN, 10 + row * _ROW
    colour = "#e8f0fe" if one.known else "#f1f1f1"
    label = one.label if len(one.label) <= 34 else f"{one.label[:16]}...{one.label[-14:]}"
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{colour}" stroke="#445"/>'
        f'<text x="{x + 10}" y="{y + 26}"><title>{escape(one.cid.text)}</title>{escape(label)}</text>'
    )


def _line(column: int, row: int, to_column: int, to_row: int, relation: str) -> str:
    width, height = _BOX
    x, y = 10 + column * _COLUMN + width, 10 + row * _ROW + height // 2
    to_x, to_y = 10 + to_column * _COLUMN, 10 + to_row * _ROW + height // 2
    return (
        f'<path d="M{x} {y} L{to_x} {to_y}" stroke="#445" fill="none"/>'
        f'<text x="{(x + to_x) // 2 - 20}" y="{to_y - 6}" font-size="9">{escape(relation)}</text>'
    )
