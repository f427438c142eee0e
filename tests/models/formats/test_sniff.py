"""farlane.models.formats.sniff: tokenizers, names that lie, and files that are no files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from farlane.errors import Corrupted, InvalidInput
from farlane.models.formats.content import BytesContent
from farlane.models.formats.sniff import inspect, inspect_file
from farlane.models.formats.values import FileFormat


def piece(text: bytes) -> bytes:
    inner = b"\x0a" + bytes([len(text)]) + text + b"\x15\0\0\0\0\x18\x01"
    return b"\x0a" + bytes([len(inner)]) + inner


def test_content_counts_more_than_the_name() -> None:
    raw = save({"a": np.ones(3)})
    assert inspect(BytesContent(raw), "weights.dat").format is FileFormat.SAFETENSORS


@pytest.mark.parametrize("name", ["a.safetensors", "a.gguf", "a.onnx", "a.keras", "a.h5", "a.npy"])
def test_a_file_that_is_not_what_it_is_called_is_refused(name: str) -> None:
    with pytest.raises(Corrupted, match=name):
        inspect(BytesContent(b"an error page that was downloaded in place of the model"), name)


def test_a_real_folder_is_known(minilm: Path) -> None:
    known = {path.name: inspect_file(path) for path in sorted(minilm.iterdir()) if path.is_file()}
    assert known["model.safetensors"].format is FileFormat.SAFETENSORS
    assert known["tokenizer.json"].facts == (("kind", "WordPiece"), ("vocabulary", "30522"))
    assert known["config.json"].format is FileFormat.PLAIN
    assert known["vocab.txt"].format is FileFormat.PLAIN


def test_sentencepiece_is_known_by_its_pieces() -> None:
    raw = b"".join(piece(text) for text in (b"<unk>", b"<s>", b"ab")) + b"\x12\0"
    found = inspect(BytesContent(raw), "spiece.model")
    assert found.format is FileFormat.SENTENCEPIECE
    assert found.fact("vocabulary") == "3"
    assert inspect(BytesContent(b"\nnew line first"), "a.txt").format is FileFormat.PLAIN


def test_json_that_is_deep_or_broken_is_plain() -> None:
    for raw in (b"{", b'{"model": ' + b"[" * 100_000, b'{"model": {"vocab": 3}}', b"[]"):
        assert inspect(BytesContent(raw), "a.json").format is FileFormat.PLAIN


def test_links_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link.gguf").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe.bin")
    for name in ("link.gguf", "pipe.bin"):
        with pytest.raises(InvalidInput, match="not a regular file"):
            inspect_file(tmp_path / name)
