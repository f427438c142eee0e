"""farlane.models.formats.pickles: pickles are refused whatever they are called, and nothing else is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.models.formats.content import BytesContent
from farlane.models.formats.sniff import inspect, inspect_file
from farlane.models.formats.values import FileFormat


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(name, data)
    return out.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as made:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        made.addfile(member, io.BytesIO(data))
    return out.getvalue()


PICKLES = {
    **{f"protocol {number}": pickle.dumps(Evil(), number) for number in range(6)},
    "weights": pickle.dumps({"w": np.ones(100_000)}),
    "as PyTorch saves": zipped("archive/data.pkl", pickle.dumps({})),
    "in a zip, renamed": zipped("archive/weights.bin", pickle.dumps(Evil())),
    "in an npz": zipped("a.txt", pickle.dumps([Evil()])),
    "gzip": gzip.compress(pickle.dumps(Evil())),
    "zlib": zlib.compress(pickle.dumps(Evil())),
    "bzip2": bz2.compress(pickle.dumps(Evil())),
    "xz": lzma.compress(pickle.dumps(Evil())),
    "old PyTorch": tarred("pickle", pickle.dumps(Evil())),
}


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("name", ["model.bin", "README.md", "model.safetensors", "pytorch_model.pt"])
def test_a_pickle_is_refused_whatever_it_is_called(kind: str, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"safetensors\.torch\.save_file"):
        inspect(BytesContent(PICKLES[kind]), name)


def test_torchscript_of_a_real_package_is_refused(silero: Path) -> None:
    with pytest.raises(InvalidInput, match=r"data\.pkl"):
        inspect_file(silero / "silero_vad.jit")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b".", b"configuration\nof the model.\n", b"(this is a README, which begins with a bracket)\n.",
        b"I am text\n", b"\x80", b"\x80\x02", b"# card\n", b"[1, 2]\n", b"}\n", b"cold start\nis slow.",
        gzip.compress(b"text"),
        b"N.", b"Vtext\n.", zipped("a.txt", b"hello"),
    ],
)  # fmt: skip
def test_what_is_no_pickle_is_not_taken_for_one(raw: bytes) -> None:
    assert inspect(BytesContent(raw), "file.txt").format is FileFormat.PLAIN


@pytest.mark.parametrize("name", ["a.pkl", "a.PT", "a.pth", "a.joblib", "a.ckpt"])
def test_unknown_content_with_a_pickles_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="called like a pickle"):
        inspect(BytesContent(b"something of their own"), name)


def test_object_arrays_are_pickles_too() -> None:
    out = io.BytesIO()
    np.save(out, np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="allow_pickle=False"):
        inspect(BytesContent(out.getvalue()), "a.npy")


def test_plain_arrays_have_their_tensor() -> None:
    out = io.BytesIO()
    array = np.arange(12, dtype=np.int64).reshape(3, 4)
    np.save(out, array)
    raw = out.getvalue()
    (tensor,) = inspect(BytesContent(raw), "a.npy").tensors
    assert raw[tensor.offset : tensor.offset + tensor.size] == array.tobytes()
    assert tensor.shape == (3, 4)
