"""Pickles, known by their content whatever they are called: refused, since they run code when they are opened."""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import re
import zlib
from collections.abc import Callable
from typing import Final

from farlane.errors import InvalidInput
from farlane.models.formats.archives import member_head, member_names
from farlane.models.formats.content import Content

HEAD_BYTES: Final = 64 * 1024
NAMES: Final = re.compile(r".*\.(pkl|pickle|joblib|dill|pt|pth|ckpt|mar|torchscript)", re.IGNORECASE)
"""What pickles are called: refused too, unless the content is known to be something else."""
_GLOBAL: Final = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")
_CALLS: Final = {"GLOBAL", "INST", "STACK_GLOBAL", "REDUCE", "BUILD", "OBJ", "NEWOBJ", "NEWOBJ_EX"}
_CONVERT: Final = (
    "a pickle runs whatever code it holds when it is opened: convert it where you trust it, with "
    "`safetensors.torch.save_file(model.state_dict(), 'model.safetensors')` for PyTorch, `torch.onnx.export` or "
    "skl2onnx for whole models, `numpy.savez` without objects for arrays"
)


def refuse_pickle(content: Content, name: str) -> None:
    """Refuse a file that is a pickle or has one inside.

    Raises:
        InvalidInput: it does; the message says how to convert it.
    """
    if what := pickle_in(content):
        raise InvalidInput(f"{name} is {what}: {_CONVERT}", path=name)


def refuse_pickle_name(name: str) -> None:
    """Refuse a file of no known format that is called like a pickle.

    Raises:
        InvalidInput: it is.
    """
    if NAMES.fullmatch(name):
        raise InvalidInput(
            f"{name} is called like a pickle and is no format farlane knows: {_CONVERT}", path=name
        )


def pickle_in(content: Content) -> str:
    """Return what kind of pickle a file is, empty for none."""
    head = content.read(0, HEAD_BYTES)
    if head[:4] == b"PK\x03\x04":
        return _in_archive(content)
    if _is_pickle(head):
        return "a pickle"
    if head[257:262] == b"ustar" and any(part in head for part in (b"pickle\0", b".pkl\0")):
        return "a tar archive with a pickle inside"
    for label, unpack in _PACKERS:
        if inner := unpack(head):
            return f"a pickle compressed with {label}" if _is_pickle(inner) else ""
    return ""


def _in_archive(content: Content) -> str:
    for member in member_names(content):
        if member.endswith((".pkl", ".pickle")):
            return f"an archive with the pickle {member[:80]!r} inside, as PyTorch saves it"
        if not member.endswith("/") and _is_pickle(member_head(content, member, 4096)):
            return f"an archive with the pickle {member[:80]!r} inside"
    return ""


def _is_pickle(head: bytes) -> bool:
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return _operations(head) >= 2
    # Protocols 0 and 1 have no mark: text that reads as operations, and names something to import.
    return bool(head) and head[:1] in b"(c}])lLSVIFNXUKGi" and _operations(head, imports=True) > 0


def _operations(head: bytes, imports: bool = False) -> int:
    """Return how many operations the head reads as, 0 where something is asked for that it does not do."""
    count, found = 0, False
    try:
        for operation, argument, _ in pickletools.genops(io.BytesIO(head)):
            count += 1
            if operation.name in {"GLOBAL", "INST"} and _GLOBAL.fullmatch(str(argument)) is None:
                return 0
            found = found or operation.name in _CALLS
            if operation.name == "STOP" or count > 10_000:
                break
    except Exception:  # what it raises is not documented; a cut-off head raises as well
        if len(head) < HEAD_BYTES and imports:
            return 0
    return count if found or not imports else 0


def _unpacker(magic: bytes, make: Callable[[], object]) -> Callable[[bytes], bytes]:
    def unpack(head: bytes) -> bytes:
        if not head.startswith(magic):
            return b""
        try:
            return bytes(make().decompress(head, HEAD_BYTES))  # type: ignore[attr-defined]
        except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError):
            return b""

    return unpack


_PACKERS: Final = (
    ("gzip", _unpacker(b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31))),
    ("zlib", _unpacker(b"\x78", zlib.decompressobj)),
    ("bzip2", _unpacker(b"BZh", bz2.BZ2Decompressor)),
    ("xz", _unpacker(b"\xfd7zXZ\0", lzma.LZMADecompressor)),
)
