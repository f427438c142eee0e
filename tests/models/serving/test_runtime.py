"""Which runtime a folder's files ask for, and what is said where its packages are missing."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from farlane.demo.novelist import shipped_model
from farlane.errors import InvalidInput, Unavailable
from farlane.models.serving.runtime import RuntimeOptions, choose_runtime, open_runtime
from farlane.testing.tiny_models import write_onnx_model, write_sentence_model


def test_files_name_their_runtime(tmp_path: Path) -> None:
    assert choose_runtime(shipped_model("novelist")) == "gguf"
    assert choose_runtime(shipped_model("spiral")) == "keras"
    assert choose_runtime(write_sentence_model(tmp_path / "bert")) == "sentence"
    assert choose_runtime(write_onnx_model(tmp_path / "onnx")) == "onnx"
    llama = write_sentence_model(tmp_path / "llama")
    (llama / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert choose_runtime(llama) in {"transformers", "vllm"}
    assert choose_runtime(tmp_path / "onnx", "gguf") == "gguf"


def test_unknown_names_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no runtime 'torch'"):
        choose_runtime(tmp_path, "torch")
    with pytest.raises(InvalidInput, match="no runtime knows the files"):
        choose_runtime(tmp_path)
    (tmp_path / "weights.pt").touch()
    with pytest.raises(InvalidInput, match="pickled weights"):
        choose_runtime(tmp_path)


def test_two_models_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_onnx_model(tmp_path)
    (tmp_path / "other.onnx").write_bytes((tmp_path / "model.onnx").read_bytes())
    with pytest.raises(InvalidInput, match=r"found model\.onnx, other\.onnx"):
        open_runtime(tmp_path, RuntimeOptions())


@pytest.mark.parametrize(
    ("runtime", "package", "hint"),
    [
        ("onnx", "onnxruntime", r"pip install farlane\[serve\]"),
        ("gguf", "xllamacpp", r"pip install farlane\[serve\]"),
        ("keras", "keras", r"pip install farlane\[serve\]"),
        ("transformers", "torch", "pip install transformers torch"),
    ],
)
def test_a_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, package: str, hint: str
) -> None:
    folders = {"gguf": shipped_model("novelist"), "keras": shipped_model("spiral")}
    folder = folders.get(runtime) or write_onnx_model(tmp_path)
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == package:
            raise ImportError(f"No module named {package!r}", name=package)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Unavailable, match=hint):
        open_runtime(folder, RuntimeOptions(), runtime)
