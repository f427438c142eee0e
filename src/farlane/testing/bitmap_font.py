"""Text as a picture, without a font library: capital letters and digits of five by seven dots, drawn large and soft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GLYPHS = {
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "F": "11111 10000 10000 11110 10000 10000 10000",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "N": "10001 11001 10101 10101 10011 10001 10001",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "R": "11110 10001 10001 11110 10100 10010 10001",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "7": "11111 00001 00010 00100 01000 01000 01000",
}


def text_picture(text: str, *, scale: int = 4, margin: int = 6) -> NDArray[np.float32]:
    """Draw black text on white: (height, width) float32 in [0, 1], each dot `scale` pixels wide, edges softened.

    Raises:
        KeyError: a character that has no glyph here.
    """
    columns: list[NDArray[Any]] = []
    for letter in text:
        rows = [[int(dot) for dot in row] for row in _GLYPHS[letter].split()]
        columns += [np.array(rows), np.zeros((7, 2), int)]
    ink = np.kron(np.concatenate(columns, axis=1), np.ones((scale, scale)))
    ink = np.pad(ink, margin).astype(np.float32)
    for axis in (0, 1, 0, 1):
        ink = (np.roll(ink, 1, axis) + 2 * ink + np.roll(ink, -1, axis)) / 4
    picture: NDArray[np.float32] = 1 - ink
    return picture
