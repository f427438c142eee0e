"""Job specifications to and from the wire."""

from __future__ import annotations

from typing import Literal

from farlane.domain.jobs import (
    BlobRef,
    CommandWork,
    Durability,
    Environment,
    FunctionWork,
    InputFile,
    JobSpec,
    ServeWork,
)
from farlane.domain.resources import MAX_BYTES, GpuRequest, Resources
from farlane.errors import InvalidInput, InvalidJob
from farlane.kit.cid import digest_of
from farlane.wire import limits
from farlane.wire.v1 import deployment_pb2, types_pb2

MAX_PRIORITY = 100
MAX_RETRIES = 1000
MAX_TIME_MS = 366 * 24 * 3_600_000
"""A year: longer time-outs and estimates are mistakes."""
MAX_SCRIPT_CHARS = 256 * 1024
MAX_FILES = 10_000
MAX_OUTPUTS = 1000
MAX_LABELS = 64
MAX_LABEL_CHARS = 1024
MAX_VARIABLES = 256
MAX_VARIABLE_CHARS = 32 * 1024
MAX_SERVE_OPTIONS = 64
MAX_SERVE_OPTION_CHARS = 4096
MAX_SERVE_READERS = 256
MAX_REQUIREMENTS = 2000
MAX_REQUIREMENT_CHARS = 16 * 1024


def job_spec_to_wire(spec: JobSpec) -> types_pb2.JobSpec:
    """Return a specification as it travels.

    Raises:
        InvalidJob: a number or text that cannot travel (negative, over 64 bits, broken Unicode).
    """
    with limits.sendable("the job", InvalidJob):
        return types_pb2.JobSpec(
            name=spec.name,
            function=None if spec.function is None else _function_to_wire(spec.function),
            command=None if spec.command is None else _command_to_wire(spec.command),
            resources=resources_to_wire(spec.resources),
            priority=spec.priority,
            retries=spec.retries,
            timeout_ms=spec.timeout_ms,
            deadline_at=spec.deadline_at,
            max_price=spec.max_price,
            budget=spec.budget,
            relaxed_durability=spec.durability == Durability.RELAXED,
            labels=pairs_to_wire(spec.labels),
            env=pairs_to_wire(spec.env),
            environment=_environment_to_wire(spec.environment),
            estimate_ms=spec.estimate_ms,
            profile=spec.profile,
            organisation=spec.organisation,
            publisher=spec.publisher,
            project=spec.project,
            serve=None if spec.serve is None else _serve_to_wire(spec.serve),
        )


def job_spec_from_wire(message: types_pb2.JobSpec) -> JobSpec:
    """Read a specification from a peer: shape, ranges and sizes; whether it can run here is the hub's to say.

    Raises:
        InvalidJob: none or several kinds of work, a value out of range, a text or list that is too long.
    """
    function, command, serve = _work_from_wire(message)
    return JobSpec(
        name=limits.text("job name", message.name, limits.MAX_NAME_CHARS, InvalidJob, required=True),
        function=function,
        command=command,
        resources=resources_from_wire(message),
        priority=limits.integer("priority", message.priority, 0, MAX_PRIORITY, InvalidJob),
        retries=limits.integer("retries", message.retries, 0, MAX_RETRIES, InvalidJob),
        timeout_ms=limits.integer("timeout in milliseconds", message.timeout_ms, 1, MAX_TIME_MS, InvalidJob),
        deadline_at=_deadline(message),
        max_price=_amount("max_price", message.max_price) if message.HasField("max_price") else None,
        budget=_amount("budget", message.budget) if message.HasField("budget") else None,
        durability=Durability.RELAXED if message.relaxed_durability else Durability.DURABLE,
        labels=limits.pairs("labels", message.labels, MAX_LABELS, MAX_LABEL_CHARS, InvalidJob),
        env=limits.pairs("env", message.env, MAX_VARIABLES, MAX_VARIABLE_CHARS, InvalidJob),
        environment=_environment_from_wire(message),
        estimate_ms=_estimate(message),
        profile=limits.text("profile", message.profile, limits.MAX_NAME_CHARS, InvalidJob),
        organisation=limits.text("organisation", message.organisation, limits.MAX_NAME_CHARS, InvalidJob),
        publisher=limits.text("publisher", message.publisher, limits.MAX_NAME_CHARS, InvalidJob),
        project=limits.text("project", message.project, limits.MAX_NAME_CHARS, InvalidJob),
        serve=serve,
    )


def resources_to_wire(resources: Resources) -> types_pb2.Resources:
    """Return what is reserved as it travels."""
    gpu = resources.gpu
    return types_pb2.Resources(
        cpu_milli=resources.cpu_milli,
        memory_bytes=resources.memory_bytes,
        disk_bytes=resources.disk_bytes,
        gpu=None if gpu is None else _gpu_to_wire(gpu),
    )


def resources_from_wire(message: types_pb2.JobSpec | deployment_pb2.Deployment) -> Resources:
    """Read what is reserved; the defaults where nothing is said.

    Raises:
        InvalidJob: out of range.
    """
    if not message.HasField("resources"):
        return Resources()
    received = message.resources
    # Resources itself refuses what is out of range.
    return Resources(
        cpu_milli=received.cpu_milli,
        memory_bytes=received.memory_bytes,
        disk_bytes=received.disk_bytes,
        gpu=_gpu_from_wire(received.gpu) if received.HasField("gpu") else None,
    )


def pairs_to_wire(pairs: tuple[tuple[str, str], ...]) -> list[types_pb2.KeyValue]:
    """Return labels or variables as they travel."""
    return [types_pb2.KeyValue(key=key, value=value) for key, value in pairs]


def blob_to_wire(ref: BlobRef) -> types_pb2.BlobRef:
    """Return a blob reference as it travels."""
    return types_pb2.BlobRef(cid=ref.cid, size_bytes=ref.size_bytes)


def _function_to_wire(work: FunctionWork) -> types_pb2.FunctionWork:
    return types_pb2.FunctionWork(function=blob_to_wire(work.function), python=work.python, name=work.name)


def _command_to_wire(work: CommandWork) -> types_pb2.CommandWork:
    return types_pb2.CommandWork(
        run=work.run,
        setup=work.setup,
        inputs=[types_pb2.File(path=file.path, blob=blob_to_wire(file.blob)) for file in work.inputs],
        outputs=work.outputs,
    )


def _gpu_to_wire(gpu: GpuRequest) -> types_pb2.GpuRequest:
    return types_pb2.GpuRequest(count=gpu.count, model=gpu.model or "", min_vram_bytes=gpu.min_vram_bytes)


def _environment_to_wire(environment: Environment | None) -> types_pb2.Environment | None:
    if environment is None:
        return None
    return types_pb2.Environment(digest=environment.digest, lines=environment.lines)


def _work_from_wire(
    message: types_pb2.JobSpec,
) -> tuple[FunctionWork | None, CommandWork | None, ServeWork | None]:
    found = [kind for kind in ("function", "command", "serve") if _has(message, kind)]
    if len(found) != 1:
        raise InvalidJob(
            "a job is one function, one command or one model to serve, but this one has "
            f"{' and '.join(found) or 'none'}; set exactly one"
        )
    if message.HasField("function"):
        return _function_from_wire(message.function), None, None
    if message.HasField("command"):
        return None, _command_from_wire(message.command), None
    return None, None, _serve_from_wire(message.serve)


def _has(message: types_pb2.JobSpec, kind: Literal["function", "command", "serve"]) -> bool:
    return message.HasField(kind)


def _serve_to_wire(work: ServeWork) -> types_pb2.ServeWork:
    return types_pb2.ServeWork(
        version=work.version,
        deployment=work.deployment,
        runtime=work.runtime,
        options=pairs_to_wire(work.options),
        readers=work.readers,
    )


def _serve_from_wire(message: types_pb2.ServeWork) -> ServeWork:
    version = limits.text(
        "the model's version", message.version, limits.MAX_ID_CHARS, InvalidJob, required=True
    )
    try:
        digest_of(version)
    except InvalidInput as error:
        raise InvalidJob(f"the model's version is not a CID: {error.message}") from error
    return ServeWork(
        version,
        limits.text("deployment", message.deployment, limits.MAX_NAME_CHARS, InvalidJob, required=True),
        limits.text("runtime", message.runtime, limits.MAX_ID_CHARS, InvalidJob),
        limits.pairs(
            "options of the runtime", message.options, MAX_SERVE_OPTIONS, MAX_SERVE_OPTION_CHARS, InvalidJob
        ),
        _readers(message),
    )


def _readers(message: types_pb2.ServeWork) -> tuple[str, ...]:
    limits.at_most("recipients of the version", message.readers, MAX_SERVE_READERS, InvalidJob)
    return tuple(
        limits.text("a recipient of the version", one, limits.MAX_ID_CHARS, InvalidJob, required=True)
        for one in message.readers
    )


def _function_from_wire(message: types_pb2.FunctionWork) -> FunctionWork:
    python = message.python
    minor = python.split(".")
    if len(python) > 8 or len(minor) != 2 or not all(part.isascii() and part.isdigit() for part in minor):
        raise InvalidJob(
            f"Python version {python[:20]!r} of the function is not one; expected something like '3.11'"
        )
    name = limits.text("function name", message.name, limits.MAX_NAME_CHARS, InvalidJob)
    return FunctionWork(limits.blob_ref("the function", message.function, InvalidJob), python, name)


def _command_from_wire(message: types_pb2.CommandWork) -> CommandWork:
    limits.at_most("input files", message.inputs, MAX_FILES, InvalidJob)
    limits.at_most("output patterns", message.outputs, MAX_OUTPUTS, InvalidJob)
    return CommandWork(
        run=limits.text("run", message.run, MAX_SCRIPT_CHARS, InvalidJob, required=True),
        setup=limits.text("setup", message.setup, MAX_SCRIPT_CHARS, InvalidJob),
        inputs=tuple(
            InputFile(
                limits.relative_path("input file", file.path, InvalidJob),
                limits.blob_ref(f"input file {file.path!r}", file.blob, InvalidJob),
            )
            for file in message.inputs
        ),
        outputs=tuple(limits.relative_path("output pattern", path, InvalidJob) for path in message.outputs),
    )


def _gpu_from_wire(message: types_pb2.GpuRequest) -> GpuRequest:
    model = limits.text("GPU model", message.model, limits.MAX_ID_CHARS, InvalidJob)
    vram = limits.integer("GPU memory in bytes", message.min_vram_bytes, 0, MAX_BYTES, InvalidJob)
    return GpuRequest(message.count, model or None, vram)


def _environment_from_wire(message: types_pb2.JobSpec) -> Environment | None:
    if not message.HasField("environment"):
        return None
    received = message.environment
    limits.at_most("requirement lines", received.lines, MAX_REQUIREMENTS, InvalidJob)
    return Environment(
        limits.text("environment digest", received.digest, limits.MAX_ID_CHARS, InvalidJob, required=True),
        tuple(
            limits.text("a requirement line", line, MAX_REQUIREMENT_CHARS, InvalidJob)
            for line in received.lines
        ),
    )


def _deadline(message: types_pb2.JobSpec) -> float | None:
    if not message.HasField("deadline_at"):
        return None
    return limits.finite("deadline_at (unix seconds)", message.deadline_at, InvalidJob)


def _estimate(message: types_pb2.JobSpec) -> int | None:
    if not message.HasField("estimate_ms"):
        return None
    return limits.integer("estimate in milliseconds", message.estimate_ms, 0, MAX_TIME_MS, InvalidJob)


def _amount(what: str, nano: int) -> int:
    return limits.integer(f"{what} in nano-credits", nano, 0, limits.MAX_INTEGER, InvalidJob)
