"""The runtime for Keras models (.keras and .h5) on Keras's jax backend: no TensorFlow, no code out of the file."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from farlane.domain.inference import InferenceKind, ModelDescription, TensorSpec, TensorsReply, TensorsRequest
from farlane.errors import Corrupted, FarlaneError, InvalidInput
from farlane.models.serving.runtime import (
    NoEmbeddings,
    NoGeneration,
    RuntimeOptions,
    missing_package,
    only_file,
)
from farlane.models.serving.runtimes.arrays import NUMPY, checked, chosen, to_tensor
from farlane.models.serving.runtimes.keras_file import check_keras_file

MAX_BATCH = 64
_DATATYPES = {dtype.name: datatype for datatype, dtype in NUMPY.items()}


class KerasRuntime(NoEmbeddings, NoGeneration):
    """One Keras model behind the runtime's port.

    Args:
        folder: holds one .keras or .h5 file.
        options: jax takes what its process may use.

    Raises:
        InvalidInput: the model carries code, or needs what the backend does not have.
        Corrupted: it is no Keras file.
        Unavailable: keras is not installed.
    """

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        path = only_file(folder, ".keras", ".h5", ".hdf5")
        check_keras_file(path)
        self._model = _load(path)
        self._one = threading.Lock()  # Keras keeps the state of a call in the process
        names = _output_names(self._model)
        self._description = ModelDescription(
            runtime="keras",
            kinds=(InferenceKind.TENSORS,),
            inputs=tuple(_spec(tensor.name, tensor) for tensor in self._model.inputs),
            outputs=tuple(map(_spec, names, self._model.outputs)),
            max_batch=MAX_BATCH,
        )

    def describe(self) -> ModelDescription:
        """Say what the model takes and gives."""
        return self._description

    def tensors(self, request: TensorsRequest) -> TensorsReply:
        """Run the layers.

        Raises:
            InvalidInput: names, types or shapes that are not the model's, or that its layers refuse.
        """
        arrays = checked(request.inputs, self._description.inputs)
        names = [spec.name for spec in self._description.outputs]
        wanted = chosen(names, request.outputs)
        given = [arrays[spec.name] for spec in self._description.inputs]
        try:
            with self._one:
                results = self._model(given if len(given) > 1 else given[0], training=False)
        except (ValueError, TypeError, RuntimeError, ImportError) as error:
            raise InvalidInput(f"the model's layers refused these inputs: {str(error)[:500]}") from error
        results = results if isinstance(results, list | tuple) else [results]
        by_name = dict(zip(names, results, strict=True))
        return TensorsReply(tuple(to_tensor(name, np.asarray(by_name[name])) for name in wanted))

    def close(self) -> None:
        """Free the model."""
        del self._model


def _load(path: Path) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        import keras
    except ImportError as error:
        raise missing_package(error.name or "keras", "serve", "keras") from error
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except FarlaneError:
        raise
    except Exception as error:  # Keras raises whatever the damaged part made it raise
        raise Corrupted(f"Keras cannot load {path.name}: {str(error)[:500]}") from error
    if not getattr(model, "inputs", None):
        raise InvalidInput(
            f"{path.name} does not say what it takes: give the model an Input layer and save it again"
        )
    return model


def _output_names(model: Any) -> list[str]:
    """Name each output after the layer that gives it, the second of one layer with a number."""
    layers = [str(tensor._keras_history.operation.name) for tensor in model.outputs]
    seen = [layers[:index].count(name) for index, name in enumerate(layers)]
    return [f"{name}_{count}" if count else name for name, count in zip(layers, seen, strict=True)]


def _spec(name: str, tensor: Any) -> TensorSpec:
    datatype = _DATATYPES.get(tensor.dtype)
    if datatype is None:
        raise InvalidInput(
            f"{name!r} of this model has element type {tensor.dtype}, which no protocol here can carry"
        )
    return TensorSpec(name, datatype, tuple(-1 if size is None else size for size in tensor.shape))
