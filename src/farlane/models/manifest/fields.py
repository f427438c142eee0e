"""Reading a decoded map strictly: every field of the right kind and size, and none that is unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from farlane.errors import Corrupted, FarlaneError
from farlane.models.cid import Cid

T = TypeVar("T")


class Fields:
    """The fields of one map, each taken once.

    Args:
        value: what was decoded; anything but a map with text keys is refused.
        what: the map, for messages: `a file`.
    """

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise Corrupted(
                f"{what} of the manifest is not a map: it was not written by farlane or is damaged"
            )
        self._left: dict[str, Any] = dict(value)
        self._what = what

    def wrong(self, field: str, why: str) -> Corrupted:
        """Return the error of a field."""
        return Corrupted(
            f"the field {field!r} of {self._what} of the manifest {why}: fetch it from its publisher again"
        )

    def text(self, field: str, limit: int, default: str | None = None) -> str:
        """Take text of at most `limit` bytes."""
        value = self._take(field, default)
        if not isinstance(value, str) or len(value.encode(errors="replace")) > limit:
            raise self.wrong(field, f"is not text of at most {limit} bytes")
        return value

    def number(self, field: str, limit: int, default: int | None = None) -> int:
        """Take an integer from 0 to `limit`."""
        value = self._take(field, default)
        if type(value) is not int or not 0 <= value <= limit:
            raise self.wrong(field, f"is not an integer from 0 to {limit}")
        return value

    def flag(self, field: str, default: bool) -> bool:
        """Take true or false."""
        value = self._take(field, default)
        if not isinstance(value, bool):
            raise self.wrong(field, "is neither true nor false")
        return value

    def octets(self, field: str, size: int) -> bytes:
        """Take exactly `size` bytes."""
        value = self._take(field, None)
        if not isinstance(value, bytes) or len(value) != size:
            raise self.wrong(field, f"is not {size} bytes")
        return value

    def link(self, field: str) -> Cid:
        """Take a link."""
        return as_cid(self._take(field, None), lambda why: self.wrong(field, why))

    def optional_link(self, field: str) -> Cid | None:
        """Take a link that may be missing."""
        return self.link(field) if field in self._left else None

    def items(self, field: str, limit: int, read: Callable[[object], T]) -> tuple[T, ...]:
        """Take a list of at most `limit` items, empty where it is missing."""
        value = self._take(field, [])
        if not isinstance(value, list) or len(value) > limit:
            raise self.wrong(field, f"is not a list of at most {limit}")
        return tuple(read(one) for one in value)

    def numbers_by_name(self, field: str, limit: int, name_bytes: int) -> tuple[tuple[str, float], ...]:
        """Take a map of finite numbers by name, empty where it is missing."""
        value = self._take(field, {})
        if not isinstance(value, dict) or len(value) > limit:
            raise self.wrong(field, f"is not a map of at most {limit}")
        for name, number in value.items():
            if len(name.encode()) > name_bytes or type(number) is not float or not math.isfinite(number):
                raise self.wrong(field, "has a name that is too long or a value that is no finite number")
        return tuple(sorted(value.items()))

    def map(self, field: str) -> object:
        """Take a map as it is, None where it is missing."""
        return self._left.pop(field, None)

    def end(self) -> None:
        """Refuse what was not taken."""
        if self._left:
            raise Corrupted(
                f"{self._what} of the manifest has the unknown field {min(self._left)!r}: a newer farlane may have "
                "written it"
            )

    def _take(self, field: str, default: object) -> Any:
        value = self._left.pop(field, default)
        if value is None:
            raise self.wrong(field, "is missing")
        return value


def as_cid(value: object, wrong: Callable[[str], FarlaneError]) -> Cid:
    """Return a decoded link as a CID."""
    from multiformats import CID

    if not isinstance(value, CID):
        raise wrong("is not a link")
    name, digest = value.hashfun.name, bytes(value.raw_digest)
    if name != "sha2-256" or len(digest) != 32:
        raise wrong("is a link by another hash than sha2-256")
    return Cid(value.version, value.codec.code, digest)
