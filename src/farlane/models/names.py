"""Names of models, versions and aliases, and references to them: NAME[@alias|@vN|@CID]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from farlane.errors import InvalidInput
from farlane.models.cid import Cid, parse_cid

NEWEST: Final = "latest"
"""What a reference without `@` means: the newest version. No alias can have this name."""
MAX_NAME_BYTES: Final = 64
"""Source: ModelRegistry.sol, MAX_NAME_BYTES: a name that is free here can be claimed on a chain too."""
_PART: Final = r"[a-z0-9][a-z0-9._-]*"
_NAME: Final = re.compile(rf"{_PART}(/{_PART})?")
_ALIAS: Final = re.compile(r"(?!v[0-9]+$)[a-z][a-z0-9._-]{0,39}")
_NUMBER: Final = re.compile(r"v([1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class Reference:
    """A version as people write it: by number, by CID, by alias, or the newest where all three are empty."""

    name: str
    alias: str = ""
    number: int = 0
    cid: Cid | None = None

    def __str__(self) -> str:
        """Return it as it is written."""
        if self.cid is not None:
            return f"{self.name}@{self.cid.text}"
        at = f"v{self.number}" if self.number else self.alias
        return f"{self.name}@{at}" if at else self.name


def check_name(name: str) -> str:
    """Return a name that a model may have.

    Raises:
        InvalidInput: it is not one.
    """
    if len(name) > MAX_NAME_BYTES or _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name[:80]!r} is no name for a model; expected NAME or ORGANISATION/NAME of a-z, 0-9, '-', '_' and '.', "
            f"each beginning with a letter or digit, {MAX_NAME_BYTES} letters in all",
            name=name[:80],
        )
    return name


def check_alias(alias: str) -> str:
    """Return a name that an alias may have.

    Raises:
        InvalidInput: it is not one, or would read as a version's number or as the newest version.
    """
    if _ALIAS.fullmatch(alias) is None or alias == NEWEST:
        raise InvalidInput(
            f"{alias[:80]!r} is no name for an alias; expected up to 40 of a-z, 0-9, '-', '_' and '.', beginning with "
            f"a letter, such as champion or canary; v1, v2 and {NEWEST!r} are taken",
            alias=alias[:80],
        )
    return alias


def parse_reference(text: str) -> Reference:
    """Read a reference: `minilm`, `lab/minilm@champion`, `minilm@v3`, `minilm@bafyrei...`.

    Raises:
        InvalidInput: it is not one.
    """
    name, mark, at = text.partition("@")
    check_name(name)
    if not mark or at == NEWEST:
        return Reference(name)
    if number := _NUMBER.fullmatch(at):
        return Reference(name, number=int(number[1]))
    if _ALIAS.fullmatch(at):
        return Reference(name, alias=at)
    try:
        return Reference(name, cid=parse_cid(at))
    except InvalidInput as error:
        raise InvalidInput(
            f"{text[:160]!r} names no version: behind '@' stands an alias, a number (v3) or a manifest's CID",
            reference=text[:160],
        ) from error
