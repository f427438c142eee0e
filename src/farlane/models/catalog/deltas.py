"""Which deltas lead from one version of a catalog to another; they go with either."""

from __future__ import annotations

from farlane.errors import Exhausted, NotFound
from farlane.models.catalog.rows import Rows
from farlane.models.catalog.values import MAX_DELTAS, DeltaRow
from farlane.models.cid import Cid


class Deltas:
    """Deltas between versions; every method may be called from any thread.

    Args:
        rows: the catalog's storage.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def add(self, delta: DeltaRow) -> None:
        """Note a delta whose blocks are here; one between the same versions is replaced.

        Raises:
            NotFound: one of its versions is not here.
            Exhausted: the version has MAX_DELTAS.
        """
        with self._rows.changing():
            for manifest in (delta.target, delta.base):
                if not self._rows.has_manifest(manifest):
                    raise NotFound(
                        f"no version here has the manifest {manifest.text}: a delta is kept between two versions "
                        "that are here",
                        version=manifest.text,
                    )
            others = [one for one in self._rows.deltas(delta.target) if one.base != delta.base]
            if len(others) >= MAX_DELTAS:
                raise Exhausted(f"{delta.target.text} has {MAX_DELTAS} deltas, the most there may be")
            self._rows.put_delta(delta)

    def of(self, target: Cid) -> tuple[DeltaRow, ...]:
        """Return the deltas that make a version, by its manifest, smallest first."""
        with self._rows.reading():
            return tuple(self._rows.deltas(target))

    def remove(self, target: Cid, base: Cid) -> None:
        """Forget the delta between two versions; its blocks go with the next collection."""
        with self._rows.changing():
            self._rows.remove_delta(target, base)
