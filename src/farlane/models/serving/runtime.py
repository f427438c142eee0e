"""The port of every runtime, and the choice of the runtime that a folder of files asks for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from farlane.domain.inference import (
    EmbedReply,
    EmbedRequest,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    ModelDescription,
    TensorsReply,
    TensorsRequest,
)
from farlane.errors import FarlaneError, InvalidInput, Unavailable
from farlane.models.serving.gpus import visible_gpus

Cancelled = Callable[[], bool]
"""Asked between two pieces: True ends the generation early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """What a runtime may use of the machine."""

    threads: int = 1
    """Threads of one computation; on busy cores one is quicker than two."""
    streams: int = 2
    """Generations that run at the same time; they share the context's memory."""
    context_tokens: int = 0
    """Longest prompt and answer together; 0 takes what the model was trained for."""


class Runtime(Protocol):
    """One loaded model. Calls may come from any thread, several at once; what it cannot do raises `InvalidInput`."""

    def describe(self) -> ModelDescription:
        """Say what the model is and what it may be asked."""
        ...

    def tensors(self, request: TensorsRequest) -> TensorsReply:
        """Run arrays through the model.

        Raises:
            InvalidInput: names, element types or shapes are not the model's.
        """
        ...

    def embed(self, request: EmbedRequest) -> EmbedReply:
        """Turn each text into a vector of length 1.

        Raises:
            InvalidInput: the model has no embeddings, or not of that many dimensions.
        """
        ...

    def generate(self, request: GenerateRequest, cancelled: Cancelled) -> Iterator[GeneratePiece]:
        """Yield text as it comes; the last piece alone has a `finish` reason.

        Args:
            request: the chat or prompt.
            cancelled: asked between pieces; True ends the generation without a last piece.

        Raises:
            InvalidInput: the model does not generate, or the prompt is longer than its context.
        """
        ...

    def close(self) -> None:
        """Free what the model holds; generations that still run are to be cancelled before."""
        ...


@runtime_checkable
class Backed(Protocol):
    """A runtime whose model lives in a process of its own, which can die alone."""

    def wait(self) -> FarlaneError | None:
        """Wait until that process is gone; return why, or None where the runtime was closed."""
        ...


class NoTensors:
    """The answer of a model that takes no arrays."""

    def tensors(self, request: TensorsRequest) -> TensorsReply:
        """Refuse."""
        raise refusal(self, InferenceKind.TENSORS)


class NoEmbeddings:
    """The answer of a model that has no embeddings."""

    def embed(self, request: EmbedRequest) -> EmbedReply:
        """Refuse."""
        raise refusal(self, InferenceKind.EMBEDDING)


class NoGeneration:
    """The answer of a model that does not write."""

    def generate(self, request: GenerateRequest, cancelled: Cancelled) -> Iterator[GeneratePiece]:
        """Refuse."""
        raise refusal(self, InferenceKind.GENERATION)


_HOW = {
    InferenceKind.TENSORS: "tensors (Open Inference Protocol, POST /v2/models/NAME/infer)",
    InferenceKind.EMBEDDING: "embeddings (POST /v1/embeddings)",
    InferenceKind.GENERATION: "generation (POST /v1/chat/completions or /v1/completions)",
}


def refusal(model: object, asked: InferenceKind) -> InvalidInput:
    """Return the error for a question that the model cannot answer; it says which ones it can."""
    described: ModelDescription = model.describe()  # type: ignore[attr-defined]
    can = " and ".join(_HOW[kind] for kind in described.kinds)
    return InvalidInput(
        f"this model cannot be asked for {asked.value}: its runtime {described.runtime} answers {can}",
        asked=asked.value,
        kinds=[kind.value for kind in described.kinds],
    )


_RUNTIMES = {
    "onnx": ("onnx", "OnnxRuntime"),
    "gguf": ("gguf", "GgufRuntime"),
    "sentence": ("sentence", "SentenceRuntime"),
    "keras": ("keras", "KerasRuntime"),
    "transformers": ("transformers", "TransformersRuntime"),
    "vllm": ("vllm", "VllmRuntime"),
}
EITHER = "transformers-or-vllm"
"""What language models in Hugging Face's layout ask for: vLLM on a node that has it and a GPU, else transformers."""
RUNTIME_NAMES = (*_RUNTIMES, EITHER)
_PACKAGES = {
    "onnx": ("onnxruntime",),
    "gguf": ("xllamacpp",),
    "sentence": ("tokenizers", "safetensors"),
    "keras": ("keras", "jax", "h5py"),
    "transformers": ("transformers", "torch"),
    "vllm": ("vllm",),
}
_WHOLE, _SHARDED = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib")


def installed_runtimes() -> tuple[str, ...]:
    """Return the runtimes whose packages are installed, without importing any of them."""
    found = tuple(filter(_is_installed, _PACKAGES))
    return (*found, EITHER) if {"transformers", "vllm"} & set(found) else found


def _is_installed(runtime: str) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in _PACKAGES[runtime])


def choose_runtime(folder: Path, runtime: str | None = None) -> str:
    """Name the runtime that opens the files of a model's folder here.

    Args:
        folder: the model's files.
        runtime: a name of `RUNTIME_NAMES` that the publisher chose; None goes by the files.

    Raises:
        InvalidInput: no such runtime, or files that none can load.
    """
    if runtime:
        if runtime not in RUNTIME_NAMES:
            raise InvalidInput(
                f"there is no runtime {runtime!r}; expected one of {', '.join(RUNTIME_NAMES)}",
                runtime=runtime,
            )
    else:
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        runtime = runtime_for(names, lambda: folder / "config.json", str(folder))
    if runtime != EITHER:
        return runtime
    return "vllm" if _is_installed("vllm") and visible_gpus() else "transformers"


def runtime_for(paths: Iterable[str], config: Callable[[], Path], what: str) -> str:
    """Name the runtime for a model with these files, whatever this machine has; `EITHER` is left to a node.

    Args:
        paths: of its files, relative, with `/` between folders.
        config: returns where its config.json lies; asked where the names do not decide.
        what: the model, as an error names it.

    Raises:
        InvalidInput: none can load them.
        Corrupted: config.json is no JSON object.
    """
    names = sorted({path for path in paths if "/" not in path})
    suffixes = {Path(name).suffix.lower() for name in names}
    if ".gguf" in suffixes:
        return "gguf"
    if ".keras" in suffixes or suffixes & {".h5", ".hdf5"}:
        return "keras"
    if {"tokenizer.json", "config.json"} <= set(names) and (_WHOLE in names or _SHARDED in names):
        return "sentence" if _WHOLE in names and _is_bert(config()) else EITHER
    if ".onnx" in suffixes:
        return "sentence" if "tokenizer.json" in names and "modules.json" in names else "onnx"
    raise InvalidInput(_unknown(what, names, suffixes), what=what)


def _is_bert(config: Path) -> bool:
    from farlane.models.serving.runtimes.bert import read_config

    return read_config(config).get("model_type") == "bert"


def _unknown(what: str, names: list[str], suffixes: set[str]) -> str:
    expected = "a .gguf, .onnx, .keras or .h5 file, or model.safetensors with config.json and tokenizer.json"
    pickled = sorted(suffixes & set(PICKLES))
    if pickled:
        return (
            f"{what} holds pickled weights ({', '.join(pickled)}), which can run code and are never opened; convert "
            "them to safetensors, for example with safetensors.torch.save_file, and publish those"
        )
    held = ", ".join(names[:8]) or "no files"
    return f"no runtime knows the files in {what} ({held}); expected {expected}, or name one with --runtime"


def open_runtime(folder: Path, options: RuntimeOptions, runtime: str | None = None) -> Runtime:
    """Load a model.

    Args:
        folder: the model's files; nothing in it is executed or unpickled.
        options: threads and sizes.
        runtime: see `choose_runtime`.

    Raises:
        InvalidInput: files that no runtime can load.
        Corrupted: files that are damaged.
        Unavailable: the packages of the runtime are not installed.
    """
    name = choose_runtime(folder, runtime)
    module, kind = _RUNTIMES[name]
    loaded = importlib.import_module(f"farlane.models.serving.runtimes.{module}")
    opened: Runtime = getattr(loaded, kind)(folder, options)
    return opened


def missing_package(package: str, extra: str, runtime: str) -> Unavailable:
    """Return the error for a runtime whose packages are not installed."""
    return Unavailable(
        f"the runtime {runtime} needs the package {package}, which is not installed: pip install "
        f"{'farlane[serve]' if extra == 'serve' else extra}",
        package=package,
        runtime=runtime,
    )


def only_file(folder: Path, *suffixes: str) -> Path:
    """Return the one file of a folder with one of these endings.

    Raises:
        InvalidInput: there is none, or there are several.
    """
    there = folder.iterdir() if folder.is_dir() else ()
    found = sorted(path for path in there if path.suffix.lower() in suffixes and path.is_file())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InvalidInput(
            f"expected one file {' or '.join(suffixes)} in {folder}, found {names}; publish each model in a "
            "folder of its own",
            folder=str(folder),
        )
    return found[0]
