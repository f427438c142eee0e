"""The small models that farlane ships, and the language model's second version, made from the first by a patch."""

from __future__ import annotations

import struct
from importlib.resources import files
from pathlib import Path

from farlane.errors import Corrupted

NOVELIST = "tiny-novelist.gguf"


def shipped_model(name: str) -> Path:
    """Return the folder of a shipped model.

    Args:
        name: `novelist` (a language model, GGUF) or `spiral` (a classifier of points, Keras).

    Raises:
        Corrupted: it is not there.
    """
    folder = Path(str(files("farlane.demo"))) / "models" / name
    if not folder.is_dir():
        raise Corrupted(f"{folder} is missing; reinstall farlane to get the shipped models back")
    return folder


def write_dialogue_version(folder: Path) -> Path:
    """Write the language model's second version: its last layer was trained on, on dialogue alone.

    Args:
        folder: made if it is not there.

    Returns:
        The file.

    Raises:
        Corrupted: the shipped files do not belong together.
    """
    data = bytearray((shipped_model("novelist") / NOVELIST).read_bytes())
    patch = Path(str(files("farlane.demo"))).joinpath("models", "dialogue.patch").read_bytes()
    start = 0
    while start < len(patch):
        offset, size = struct.unpack_from("<QQ", patch, start)
        part = patch[start + 16 : start + 16 + size]
        if len(part) != size or offset + size > len(data):
            raise Corrupted("the shipped dialogue.patch does not fit its model; reinstall farlane")
        data[offset : offset + size] = part
        start += 16 + size
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NOVELIST
    path.write_bytes(data)
    return path
