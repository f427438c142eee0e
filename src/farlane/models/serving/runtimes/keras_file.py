"""Looks into Keras files (.keras, .h5) before Keras does, and refuses what would run code or read other files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from farlane.errors import Corrupted, InvalidInput
from farlane.models.serving.runtime import missing_package

MAX_CONFIG_BYTES = 32 << 20
MAX_WEIGHTS_BYTES = 64 << 30
MAX_DEPTH = 100
MAX_OBJECTS = 200_000
_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
_CODE = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TFSMLayer"})
"""Classes of Keras itself that carry code, or load it, in a model's file."""


def check_keras_file(path: Path) -> None:
    """Look through a model's configuration and the links of its weights.

    Raises:
        InvalidInput: it needs code that is not Keras's own, or refers to other files.
        Corrupted: it is no Keras file.
    """
    config = _config_of_archive(path) if path.suffix.lower() == ".keras" else _config_of_h5(path)
    _check_classes(config)


def _config_of_archive(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename not in _MEMBERS:
                    raise InvalidInput(
                        f"{path.name} holds {member.filename[:200]!r}; a model to serve holds "
                        f"{', '.join(_MEMBERS)} alone: "
                        "save it again without assets"
                    )
                if member.file_size > MAX_WEIGHTS_BYTES or member.file_size > 1000 * max(
                    1, member.compress_size
                ):
                    raise Corrupted(f"{member.filename} in {path.name} unpacks to {member.file_size} bytes")
            with archive.open("config.json") as stream:
                config = _json(path, stream.read(MAX_CONFIG_BYTES + 1))
            with archive.open("model.weights.h5") as weights:
                _check_links(path, weights)
            return config
    except (zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
        raise Corrupted(f"{path.name} is no Keras archive ({error}); fetch or publish it again") from error


def _config_of_h5(path: Path) -> Any:
    config = _check_links(path, path)
    if config is None:
        raise InvalidInput(
            f"{path.name} holds weights without the model they belong to; save all of it: model.save('model.keras')"
        )
    return _json(path, config)


def _check_links(path: Path, source: Any) -> bytes | None:
    """Refuse links out of an HDF5 file; return its attribute `model_config`."""
    try:
        import h5py
    except ImportError as error:
        raise missing_package("h5py", "serve", "keras") from error
    try:
        with h5py.File(source, "r") as file:
            _walk(path, file, h5py, [MAX_OBJECTS], 0)
            config = file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise Corrupted(f"{path.name} is no HDF5 file ({error}); fetch or publish it again") from error
    return config.encode() if isinstance(config, str) else config


def _walk(path: Path, group: Any, h5py: Any, left: list[int], depth: int) -> None:
    for name in group:
        left[0] -= 1
        if left[0] < 0 or depth > MAX_DEPTH:
            raise Corrupted(f"{path.name} has more than {MAX_OBJECTS} objects, or is nested too deep")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise InvalidInput(
                f"{path.name} has a link at {name[:200]!r}; weights to serve lie in the file itself"
            )
        item = group[name]
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise InvalidInput(
                    f"{path.name} reads {name[:200]!r} out of another file; save it into one file"
                )
        else:
            _walk(path, item, h5py, left, depth + 1)


def _json(path: Path, data: bytes) -> Any:
    if len(data) > MAX_CONFIG_BYTES:
        raise Corrupted(f"the configuration in {path.name} exceeds {MAX_CONFIG_BYTES} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Corrupted(
            f"the configuration in {path.name} is no JSON ({error}); save the model again"
        ) from error


def _check_classes(config: Any) -> None:
    stack = [(config, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise Corrupted("the model's configuration is nested too deep")
        if isinstance(item, dict):
            _check_class(item)
            stack += [(value, depth + 1) for value in item.values()]
        elif isinstance(item, list):
            stack += [(value, depth + 1) for value in item]


def _check_class(item: dict[str, Any]) -> None:
    name, module = item.get("class_name"), item.get("module")
    foreign = isinstance(module, str) and module.split(".")[0] not in {"keras", "builtins"}
    if name in _CODE or foreign or item.get("registered_name") in _CODE:
        raise InvalidInput(
            f"the model uses {name} of {module or 'keras'}, which is code and not weights; code from a model is never "
            "run: build it from Keras's own layers, or export it to ONNX",
            layer=str(name),
        )
