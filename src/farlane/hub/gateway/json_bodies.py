"""JSON bodies read into declared shapes: what is unknown, too deep or no number is refused by its place."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from farlane.errors import InvalidInput

T = TypeVar("T")
_PLACE = re.compile(r" - at `\$\.?([^`]*)`")


def decoded(body: bytes | memoryview, shape: type[T]) -> T:
    """Return a JSON text as a value of a declared shape.

    Raises:
        InvalidInput: it is not JSON (NaN and Infinity are not either), nests too deep, or has another shape; fact
            `param` names the place.
    """
    if not bytes(body[:1]):
        raise InvalidInput("the body is empty; expected a JSON object")
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is not JSON: {str(error)[:200]}") from error
    except RecursionError as error:
        raise InvalidInput("the body nests too deep to be read") from error


def encoded(document: object) -> bytes:
    """Return a document as compact JSON."""
    return msgspec.json.encode(document)


def _misshapen(said: str) -> InvalidInput:
    place = _PLACE.search(said)
    param = place.group(1) if place else ""
    what = _PLACE.sub("", said)
    unknown = re.search(r"contains unknown field `([^`]{0,80})", what)
    if unknown:
        param = f"{param}.{unknown.group(1)}" if param else unknown.group(1)
        return InvalidInput(f"{param!r} is not a field that this hub knows: leave it out", param=param)
    return InvalidInput(f"{param or 'the body'}: {what[:300]}", param=param)
