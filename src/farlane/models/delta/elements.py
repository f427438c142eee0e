"""Element types as bit patterns: differences that stay small, exponents in front, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[Any]
"""(elements,) unsigned little-endian integers of 1, 2, 4 or 8 bytes."""


@dataclass(frozen=True, slots=True)
class Element:
    """How one element lies in memory.

    A `mantissa_bits` of 0 says that it is no float: an integer, or one byte of a quantised block.
    """

    name: str
    width_bytes: int
    mantissa_bits: int = 0

    @property
    def is_float(self) -> bool:
        """Whether its bits are sign, exponent, mantissa."""
        return self.mantissa_bits > 0

    @property
    def words(self) -> np.dtype[Any]:
        """The unsigned integer of the same width."""
        return np.dtype(f"<u{self.width_bytes}")

    @property
    def signed(self) -> np.dtype[Any]:
        """The signed integer of the same width."""
        return np.dtype(f"<i{self.width_bytes}")


BYTES = Element("bytes", 1)
ELEMENTS = (
    BYTES,
    Element("word16", 2),
    Element("word32", 4),
    Element("word64", 8),
    Element("bf16", 2, 7),
    Element("f16", 2, 10),
    Element("f32", 4, 23),
    Element("f64", 8, 52),
    Element("f8_e4m3", 1, 3),
    Element("f8_e5m2", 1, 2),
)
"""By their number in a delta: the order is part of the format, new ones go to the end."""

_BY_DTYPE = {
    "BF16": "bf16",
    "F16": "f16",
    "F32": "f32",
    "F64": "f64",
    "F8_E4M3": "f8_e4m3",
    "F8_E4M3FN": "f8_e4m3",
    "F8_E5M2": "f8_e5m2",
    "I16": "word16",
    "U16": "word16",
    "I32": "word32",
    "U32": "word32",
    "I64": "word64",
    "U64": "word64",
}
_BY_NAME = {element.name: element for element in ELEMENTS}


def element_of(dtype: str) -> Element:
    """Return how elements of a safetensors or GGUF type are handled; whatever is not known is handled as bytes."""
    return _BY_NAME[_BY_DTYPE.get(dtype.upper(), "bytes")]


def number_of(element: Element) -> int:
    """Return an element's number in the format."""
    return ELEMENTS.index(element)


def difference(element: Element, target: Words, basis: Words) -> Words:
    """Return target - basis in units of the last place, as (elements,) words in which a small change is a small number.

    Floats are first put in the order of their values: adjacent values differ by 1, over powers of two and zero as well,
    where an XOR would flip many bits. Signs are folded into the lowest bit (0, -1, 1, -2 become 0, 1, 2, 3).
    Arithmetic is modulo 2^width, so that every pair of patterns, NaN among them, has a difference that leads back.
    Source: Dawson, "Comparing floating point numbers" (lexicographic order of IEEE 754 patterns); zigzag coding of
    protocol buffers, "Encoding", section "Signed Integers".
    """
    gap = _ordered(element, target) - _ordered(element, basis)
    return ((gap << 1) ^ (gap >> _top(element))).view(element.words)


def add_difference(element: Element, gaps: Words, basis: Words) -> Words:
    """Return the (elements,) target words of which `gaps` is the difference to `basis`."""
    signed = (gaps >> element.words.type(1)).view(element.signed)
    signed ^= -(gaps & element.words.type(1)).view(element.signed)
    signed += _ordered(element, basis)
    return _ordered(element, signed.view(element.words)).view(element.words)


def rotate_sign_last(element: Element, words: Words) -> Words:
    """Return (elements,) words with the sign moved behind the mantissa, so that exponents fill the top byte."""
    top = element.words.type(_top(element))
    turned: Words = (words << element.words.type(1)) | (words >> top)
    return turned


def rotate_sign_first(element: Element, words: Words) -> Words:
    """Undo `rotate_sign_last`."""
    top = element.words.type(_top(element))
    turned: Words = (words >> element.words.type(1)) | (words << top)
    return turned


def exponents(element: Element, basis: Words) -> npt.NDArray[Any]:
    """Return the (elements,) uint8 or uint16 exponents of floats, as they are stored.

    What training adds is of one size for small and large weights, so its size in units of the last place is a matter
    of the exponent: grouped by it, neighbours have the same statistics and an entropy coder adapts to each group.
    """
    exponent_bits = 8 * element.width_bytes - 1 - element.mantissa_bits
    shifted = (basis >> element.words.type(element.mantissa_bits)) & element.words.type(
        (1 << exponent_bits) - 1
    )
    narrow: Words = shifted.astype(np.uint8 if exponent_bits <= 8 else np.uint16)
    return narrow


def _ordered(element: Element, words: Words) -> Words:
    """Map patterns to signed integers in the order of their values; the map is its own inverse."""
    signed = words.view(element.signed)
    if not element.is_float:
        return signed
    largest = element.signed.type((1 << _top(element)) - 1)
    mapped: Words = signed ^ ((signed >> _top(element)) & largest)
    return mapped


def _top(element: Element) -> int:
    return 8 * element.width_bytes - 1
