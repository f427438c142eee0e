"""The IPFS directory of a model's files: what `ipfs add -r` of its folder gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from farlane.models.cid import Cid
from farlane.models.unixfs.directory import Entry, directory


@dataclass(slots=True)
class _Folder:
    entries: list[Entry] = field(default_factory=list)
    folders: dict[str, _Folder] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory and those below it: the root's CID, and all blocks that were made."""

    root: Cid
    nodes: dict[Cid, bytes] = field(repr=False)


def tree(files: Iterable[tuple[str, Cid, int]]) -> Tree:
    """Return the directory of files.

    Args:
        files: path, CID, and bytes of all blocks of each.
    """
    top = _Folder()
    for path, cid, total_bytes in files:
        *folders, name = path.split("/")
        at = top
        for one in folders:
            at = at.folders.setdefault(one, _Folder())
        at.entries.append(Entry(name, cid, total_bytes))
    nodes: dict[Cid, bytes] = {}
    return Tree(_built(top, nodes)[0], nodes)


def _built(folder: _Folder, nodes: dict[Cid, bytes]) -> tuple[Cid, int]:
    # As deep as a path has parts at most, which `manifest.paths` limits.
    below = [Entry(name, *_built(one, nodes)) for name, one in folder.folders.items()]
    made = directory([*folder.entries, *below])
    nodes.update(made.nodes)
    return made.root, made.total_bytes
