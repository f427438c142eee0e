"""Keras models, .keras and .h5: what they are made of, and what is refused because loading it would run code.

Source: keras.saving (config.json, metadata.json and model.weights.h5 in a zip; model_config in an HDF5 file).
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any, Final

from farlane.errors import Corrupted, FarlaneError, InvalidInput
from farlane.models.formats.archives import member, member_names, stored_member, stream_of
from farlane.models.formats.content import Content
from farlane.models.formats.cutting import ranges_along, side_by_side
from farlane.models.formats.hdf5 import datasets
from farlane.models.formats.values import FileFormat, Inspection, TensorPlace

log = logging.getLogger(__name__)

HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
MAX_CONFIG_BYTES: Final = 16 << 20
MAX_NODES: Final = 1_000_000
_PARTS: Final = {"config.json", "metadata.json", "model.weights.h5"}
_REFUSED: Final = {"Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
_BUILTINS: Final = {"dict", "list", "tuple", "slice", "int", "float", "str", "bool"}
_FUNCTION_MODULES: Final = (
    "keras.activations",
    "keras.src.activations",
    "keras.losses",
    "keras.metrics",
    "keras.initializers",
)


def looks_like_archive(content: Content) -> bool:
    """Tell whether a file is a .keras archive."""
    if content.read(0, 4) != b"PK\x03\x04":
        return False
    try:
        return set(member_names(content)) >= _PARTS - {"model.weights.h5"}
    except FarlaneError:
        return False


def looks_like_hdf5(content: Content) -> bool:
    """Tell whether a file is HDF5."""
    return any(content.read(at, 8) == HDF5_MAGIC for at in (0, 512, 1024, 2048))


def inspect_archive(content: Content) -> Inspection:
    """Look into a .keras file.

    Raises:
        InvalidInput: it has a layer that runs code, or weights that lie in other files.
        Corrupted: cut off, or parts are missing.
    """
    names = set(member_names(content))
    if missing := sorted(_PARTS - names):
        raise Corrupted(
            f"this .keras file lacks {', '.join(missing)}: save it again with `model.save('model.keras')`"
        )
    if stray := sorted(name for name in names - _PARTS if not name.startswith("assets/")):
        raise InvalidInput(f"this .keras file has the unknown part {stray[0][:80]!r}: it is refused")
    metadata = _json(member(content, "metadata.json", MAX_CONFIG_BYTES), "metadata.json")
    config = _json(member(content, "config.json", MAX_CONFIG_BYTES), "config.json")
    check_config(config)
    facts = {
        "keras_version": str(metadata.get("keras_version", ""))[:64],
        "class": str(config.get("class_name", ""))[:64],
    }
    tensors = side_by_side(_weights(content), content.size)
    return Inspection(
        format=FileFormat.KERAS, size=content.size, tensors=tensors, ranges=ranges_along(tensors, content.size),
        facts=tuple(sorted(facts.items())),
    )  # fmt: skip


def inspect_hdf5(content: Content) -> Inspection:
    """Look into an HDF5 file, with h5py where it is installed.

    Raises:
        InvalidInput: it holds a Keras model with a layer that runs code, or points to other files.
        Corrupted: it cannot be read.
    """
    facts: dict[str, str] = {}
    try:
        import h5py
    except ImportError:
        return Inspection(format=FileFormat.HDF5, size=content.size)
    try:
        with stream_of(content) as stream, h5py.File(stream, "r") as file:
            places = datasets(file)
            config = file.attrs.get("model_config")
            version = file.attrs.get("keras_version", "")
    except FarlaneError:
        raise
    except Exception as error:  # h5py raises OSError, RuntimeError, KeyError and more for damaged files
        raise Corrupted(
            f"this HDF5 file cannot be read ({error}): it may be cut off; copy it again"
        ) from error
    if config is not None:
        document = _json(config if isinstance(config, bytes) else str(config).encode(), "model_config")
        check_config(document)
        facts = {"keras_version": _text(version), "class": str(document.get("class_name", ""))[:64]}
    tensors = side_by_side(places, content.size)
    return Inspection(
        format=FileFormat.HDF5, size=content.size, tensors=tensors, ranges=ranges_along(tensors, content.size),
        facts=tuple(sorted(facts.items())),
    )  # fmt: skip


def _weights(content: Content) -> list[TensorPlace]:
    """Return where the weights in a .keras file lie, none where they are packed or h5py is not installed.

    Raises:
        InvalidInput: they point to other files.
    """
    try:
        import h5py
    except ImportError:
        return []
    part = stored_member(content, "model.weights.h5")
    if part is None:
        return []
    try:
        with stream_of(part) as stream, h5py.File(stream, "r") as file:
            return [replace(one, offset=part.offset + one.offset) for one in datasets(file)]
    except FarlaneError:
        raise
    except Exception as error:  # h5py raises OSError, RuntimeError, KeyError and more for damaged files
        log.info("the weights of a .keras file are kept as plain bytes, for they cannot be read: %s", error)
        return []


def check_config(config: object) -> None:
    """Refuse a model's configuration whose loading would run code.

    Raises:
        InvalidInput: it has a Lambda layer, or names a class outside of Keras.
    """
    waiting, seen = [config], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > MAX_NODES:
            raise InvalidInput(
                f"this Keras model's configuration has more than {MAX_NODES} parts: it is refused"
            )
        if isinstance(node, dict):
            _check_node(node)
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _check_node(node: dict[str, Any]) -> None:
    name, module = node.get("class_name"), node.get("module")
    if name in _REFUSED:
        raise InvalidInput(
            f"this Keras model has a layer of the class {name}, which runs code that came with the model: "
            "replace it by layers of Keras itself and save the model again"
        )
    if name is None or module is None:
        return
    builtin = module in {"builtins", "keras", "numpy"} or str(module).startswith("keras.")
    function = name == "function" and not str(module).startswith(_FUNCTION_MODULES)
    if not builtin or function or (module == "builtins" and name not in _BUILTINS):
        raise InvalidInput(
            f"this Keras model names {str(module)[:80]}.{str(name)[:80]}, which is not part of Keras: "
            "a model that needs code of its own cannot be published; build it of Keras's own layers"
        )


def _json(raw: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(raw) if len(raw) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError) as error:
        raise Corrupted(f"{what} of this Keras model is not JSON ({error}): save the model again") from error
    if not isinstance(found, dict):
        raise Corrupted(f"{what} of this Keras model is no JSON object, or too large: save the model again")
    return found


def _text(value: object) -> str:
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value))[:64]
