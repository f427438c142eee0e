"""What a file is: by its content first, by its name only where content does not tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from farlane.errors import Corrupted, FarlaneError
from farlane.models.formats import arrays, gguf, keras, onnx, safetensors, tokenizers
from farlane.models.formats.content import Content, file_content
from farlane.models.formats.pickles import refuse_pickle, refuse_pickle_name
from farlane.models.formats.values import FileFormat, Inspection

_CHECKS: Final[tuple[tuple[Callable[[Content], bool], Callable[[Content], Inspection]], ...]] = (
    (safetensors.looks_like, safetensors.inspect),
    (gguf.looks_like, gguf.inspect),
    (arrays.looks_like, arrays.inspect),
    (keras.looks_like_archive, keras.inspect_archive),
    (keras.looks_like_hdf5, keras.inspect_hdf5),
    (onnx.looks_like, onnx.inspect),
)
_BY_NAME: Final[dict[str, Callable[[Content], Inspection]]] = {
    ".safetensors": safetensors.inspect, ".gguf": gguf.inspect, ".onnx": onnx.inspect, ".keras": keras.inspect_archive,
    ".npy": arrays.inspect,
}  # fmt: skip
"""A file that is called so must be one: a cut-off file is an error, not a plain file."""


def inspect(content: Content, name: str) -> Inspection:
    """Return what a file is.

    Args:
        content: its bytes.
        name: its path, for messages, and where the content does not tell.

    Raises:
        InvalidInput: it is a pickle, or a model that runs code; the message says how to convert it.
        Corrupted: it is cut off or damaged.
    """
    try:
        return _inspected(content, name)
    except FarlaneError as error:
        if name in error.message:
            raise
        raise type(error)(f"{name}: {error.message}", **{**error.facts, "path": name}) from error


def inspect_file(path: Path, name: str = "") -> Inspection:
    """Return what a file on the disk is; raises as `inspect`, and InvalidInput for what is no regular file."""
    with file_content(path) as content:
        return inspect(content, name or path.name)


def _inspected(content: Content, name: str) -> Inspection:
    refuse_pickle(content, name)
    for looks_like, look in _CHECKS:
        if looks_like(content):
            return look(content)
    suffix = Path(name).suffix.lower()
    if suffix in _BY_NAME:
        return _BY_NAME[suffix](content)
    if suffix in {".h5", ".hdf5"}:
        raise Corrupted("this file is called HDF5, and is none: it is cut off or damaged; copy it again")
    refuse_pickle_name(name)
    return _tokenizer(content, suffix) or Inspection(format=FileFormat.PLAIN, size=content.size)


def _tokenizer(content: Content, suffix: str) -> Inspection | None:
    if suffix == ".json" and content.read(0, 64).lstrip()[:1] == b"{":
        return tokenizers.inspect_json(content)
    return tokenizers.inspect_sentencepiece(content)
