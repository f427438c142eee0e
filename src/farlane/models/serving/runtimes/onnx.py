"""The runtime for ONNX models: onnxruntime on the CPU, arrays checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from farlane.domain.inference import (
    Datatype,
    InferenceKind,
    ModelDescription,
    TensorSpec,
    TensorsReply,
    TensorsRequest,
)
from farlane.errors import Corrupted, InvalidInput
from farlane.models.serving.runtime import (
    NoEmbeddings,
    NoGeneration,
    RuntimeOptions,
    missing_package,
    only_file,
)
from farlane.models.serving.runtimes.arrays import checked, chosen, to_tensor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MAX_BATCH = 64
BATCH_NAMES = frozenset({"n", "b"})
"""First axes of these names, or of names that begin with `batch`, are batches; of others nobody can know."""

_DATATYPES = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(bfloat16)": Datatype.BF16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}


def open_session(path: Path, options: RuntimeOptions) -> InferenceSession:
    """Load an ONNX file on the CPU.

    Raises:
        Corrupted: it is no ONNX model, or cut short.
        Unavailable: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_package("onnxruntime", "serve", "onnx") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    # Idle threads that spin take the core from everything else on a shared machine.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes share no ancestor but Exception
        raise Corrupted(f"onnxruntime cannot load {path.name}: {error}; fetch or publish it again") from error


class OnnxRuntime(NoEmbeddings, NoGeneration):
    """One ONNX file behind the runtime's port.

    Args:
        folder: holds one .onnx file, and the files it refers to.
        options: threads of one computation.
    """

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        self._session = open_session(only_file(folder, ".onnx"), options)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._description = ModelDescription(
            runtime="onnx",
            kinds=(InferenceKind.TENSORS,),
            inputs=tuple(map(_spec, inputs)),
            outputs=tuple(map(_spec, outputs)),
            max_batch=MAX_BATCH if _has_batch_axis([*inputs, *outputs]) else 1,
        )

    def describe(self) -> ModelDescription:
        """Say what the model takes and gives."""
        return self._description

    def tensors(self, request: TensorsRequest) -> TensorsReply:
        """Run the graph.

        Raises:
            InvalidInput: names, types or shapes that are not the model's, or sizes that its layers refuse.
        """
        arrays = checked(request.inputs, self._description.inputs)
        names = chosen([spec.name for spec in self._description.outputs], request.outputs)
        try:
            results = self._session.run(names, arrays)
        except Exception as error:  # onnxruntime's own classes share no ancestor but Exception
            raise InvalidInput(
                f"the model's graph refused these inputs: {str(error)[:500]}. Sizes that are -1 in its description "
                "may still depend on one another"
            ) from error
        return TensorsReply(tuple(map(to_tensor, names, results)))

    def close(self) -> None:
        """Free the session."""
        del self._session


def _spec(argument: Any) -> TensorSpec:
    datatype = _DATATYPES.get(argument.type)
    if datatype is None:
        raise InvalidInput(
            f"{argument.name!r} of this ONNX model is a {argument.type}; only plain tensors can be served"
        )
    shape = tuple(size if isinstance(size, int) else -1 for size in argument.shape)
    return TensorSpec(argument.name, datatype, shape)


def _has_batch_axis(arguments: list[Any]) -> bool:
    """Tell whether the first axes of all arrays are one and the same batch, by its name."""
    first = {argument.shape[0] if argument.shape else None for argument in arguments}
    if len(first) != 1:
        return False
    name = first.pop()
    return isinstance(name, str) and (name.lower() in BATCH_NAMES or name.lower().startswith("batch"))
