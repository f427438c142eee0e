"""Conversion of a setting's raw value (text, TOML or YAML) to the type its field declares."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from farlane.errors import Internal, InvalidSetting
from farlane.kit.suggestions import hint

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_NONE = frozenset({"", "none", "null"})


def convert(raw: object, kind: Any, origin: str) -> Any:
    """Return `raw` as a value of the type `kind`.

    Args:
        raw: text (environment), or what a TOML or YAML file or a flag holds.
        kind: bool, int, float, str, Path, tuple[str, ...], Literal of strings, or one of these `| None`.
        origin: where the value stands, for the message.

    Raises:
        InvalidSetting: if `raw` cannot be read as that.
        Internal: if the field declares a type that settings do not have.
    """
    if get_origin(kind) in (Union, types.UnionType):
        return _optional(raw, kind, origin)
    if get_origin(kind) is Literal:
        return _choice(raw, get_args(kind), origin)
    if kind == tuple[str, ...]:
        return _texts(raw, origin)
    converter = _SCALARS.get(kind)
    if converter is None:
        raise Internal(f"{origin}: settings cannot be of type {type_name(kind)}")
    try:
        return converter(raw)
    except (TypeError, ValueError):
        raise _invalid(raw, type_name(kind), origin) from None


def type_name(kind: Any) -> str:
    """Return a type as people read it: `int`, `path`, `text or none`, `one of a, b`."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(type_name(member) for member in get_args(kind))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    return _NAMES.get(kind, str(kind))


def _optional(raw: object, kind: Any, origin: str) -> Any:
    members = [member for member in get_args(kind) if member is not types.NoneType]
    if len(members) != 1 or len(get_args(kind)) != 2:
        raise Internal(f"{origin}: settings cannot be of type {type_name(kind)}")
    if raw is None or (isinstance(raw, str) and raw.strip().lower() in _NONE):
        return None
    return convert(raw, members[0], origin)


def _choice(raw: object, choices: tuple[Any, ...], origin: str) -> Any:
    if raw in choices:
        return raw
    raise InvalidSetting(
        f"{origin} is {raw!r}: expected one of {', '.join(map(str, choices))}; {_near(raw, choices)}"
    )


def _near(raw: object, choices: tuple[Any, ...]) -> str:
    return hint(str(raw), map(str, choices))


def _texts(raw: object, origin: str) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(part for piece in raw.split(",") if (part := piece.strip()))
    if isinstance(raw, (list, tuple)) and all(isinstance(part, str) for part in raw):
        return tuple(raw)
    raise _invalid(raw, type_name(tuple[str, ...]), origin)


def _bool(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    text = raw.strip().lower() if isinstance(raw, str) else ""
    if text not in _TRUE | _FALSE:
        raise ValueError
    return text in _TRUE


def _int(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, (int, str)):
        raise TypeError
    return int(raw)


def _float(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        raise TypeError
    value = float(raw)
    if math.isnan(value):
        raise ValueError
    return value


def _str(raw: object) -> str:
    # A bare 1234 in YAML is a number: quoting it is the file's business, for 0123 would come out as 83.
    if not isinstance(raw, str):
        raise TypeError
    return raw


def _path(raw: object) -> Path:
    if not isinstance(raw, (str, Path)) or not str(raw):
        raise TypeError
    return Path(raw).expanduser()


_SCALARS: Mapping[Any, Callable[[object], object]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Path: _path,
}
_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    int: "int",
    float: "float",
    str: "text",
    Path: "path",
    tuple[str, ...]: "list of texts (comma-separated in the environment)",
    types.NoneType: "none",
}


def _invalid(raw: object, expected: str, origin: str) -> InvalidSetting:
    return InvalidSetting(f"{origin} is {raw!r}: expected {expected}", setting=origin)
