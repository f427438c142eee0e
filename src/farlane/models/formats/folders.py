"""What the files of one folder are together: weights of a model that lie in files beside it are found in those."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from farlane.models.formats.cutting import ranges_along, side_by_side
from farlane.models.formats.values import FileFormat, Inspection, TensorPlace


def joined(inspections: Mapping[str, Inspection]) -> dict[str, Inspection]:
    """Return what the files of a folder are, by path, with the tensors that others of them say they hold.

    Only files that are nothing else have any; what is said wrongly is left out.

    Args:
        inspections: of each file alone, by its path.
    """
    said: dict[str, list[TensorPlace]] = defaultdict(list)
    for path, look in inspections.items():
        for one in look.outside:
            said[str(PurePosixPath(path).parent / one.location)].append(one.place)
    found = dict(inspections)
    for path, places in said.items():
        if path in found and found[path].format is FileFormat.PLAIN:
            tensors = side_by_side(places, found[path].size)
            found[path] = replace(
                found[path], tensors=tensors, ranges=ranges_along(tensors, found[path].size)
            )
    return found
