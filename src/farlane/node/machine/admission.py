"""Admission: what this node will never run, whoever asks; it is the last authority on its machine."""

from __future__ import annotations

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, job_text
from farlane.domain.jobs import JobSpec, ServeWork
from farlane.domain.nodes import SERVES, NodeSpec
from farlane.domain.resources import Capacity, GpuKind, GpuRequest, Resources
from farlane.domain.units import bytes_text
from farlane.node.executors.port import PoolKey
from farlane.node.machine.attempts import HeldJob
from farlane.node.machine.pool import ResourcePool


def admit_job(node: NodeSpec, pool: ResourcePool, job: JobId, spec: JobSpec) -> HeldJob:
    """Take a job's specification; the result carries a refusal where the node will not run it."""
    reason = refusal_reason(node, spec)
    refusal = None if reason is None else Failure(FailureKind.REFUSED, reason)
    environment = spec.environment.digest if spec.environment is not None else ""
    slots = max(1, pool.slots(spec.resources))
    return HeldJob(job, spec, refusal, slots, pool=PoolKey(spec.publisher, environment))


def gpu_refusal(pool: ResourcePool, job: HeldJob, kind: GpuKind | None) -> Failure | None:
    """Return why leases that are to take a kind of GPU will not run here, None where they may."""
    wanted = job.spec.resources.gpu
    if kind is None or job.refusal is not None:
        return None
    if wanted is not None and wanted.accepts(kind) and dict(pool.capacity.gpus).get(kind, 0) >= wanted.count:
        return None
    there_are = ", ".join(f"{count} x {one.model}" for one, count in pool.capacity.gpus) or "none"
    asked = "no GPU" if wanted is None else _gpus(wanted)
    return Failure(
        FailureKind.REFUSED,
        f"the hub leased GPUs {kind.model} for a task that asks for {asked}; this node offers {there_are}",
    )


def unknown_job(job: JobId) -> HeldJob:
    """Return what stands for a job whose specification never came."""
    message = (
        f"leases of {job_text(job)} came without its specification, and this stream has not carried it before: "
        "expected it with the job's first leases"
    )
    return HeldJob(job, JobSpec(name=""), Failure(FailureKind.REFUSED, message))


def missing_runtime(node: NodeSpec, work: ServeWork) -> str | None:
    """Return why the node cannot serve a model, None where it can."""
    there = [key.partition(".")[2] for key, _ in node.labels if key.startswith(f"{SERVES}.")]
    if (SERVES, "yes") not in node.labels or (work.runtime and work.runtime not in there):
        return (
            f"the model needs {work.runtime or 'a runtime'}; this node has {', '.join(there) or 'none'}: "
            "install it there, or use a node that has it"
        )
    if work.readers and node.recipient not in work.readers:
        return "the model is private and this node is none of its recipients: share it with the node first"
    return None


def refusal_reason(node: NodeSpec, spec: JobSpec) -> str | None:
    """Return why the node runs nothing of this specification, None where it does."""
    if not node.runs_work_of(spec.organisation):
        whose = ", ".join(map(repr, (node.organisation, *node.serves)))
        return (
            f"this node runs only work of {whose} until a sandbox exists, and the job is of {spec.organisation!r}: use "
            "a node of that organisation, or ask its owner to list it in node.serves"
        )
    if spec.kinds_of_work != 1:
        return f"the job names {spec.kinds_of_work} of a function, a command and a model to serve: expected exactly one"
    if spec.serve is not None and (missing := missing_runtime(node, spec.serve)):
        return missing
    if spec.function is not None and spec.function.python != node.python:
        return (
            f"the function was pickled by Python {spec.function.python} and this node runs {node.python}: "
            "submit from the same minor version, or add a node that has it"
        )
    return None if node.capacity.holds(spec.resources) else _too_large(node.capacity, spec.resources)


def _too_large(capacity: Capacity, wanted: Resources) -> str:
    for what, asked, there, text in (
        ("cores", wanted.cpu_milli, capacity.cpu_milli, _cores),
        ("memory", wanted.memory_bytes, capacity.memory_bytes, bytes_text),
        ("disk", wanted.disk_bytes, capacity.disk_bytes, bytes_text),
    ):
        if asked > there:
            return f"a task asks for {what}: {text(asked)}; the whole node offers {text(there)}: ask for less"
    assert wanted.gpu is not None  # nothing else can be too large
    there_are = ", ".join(f"{count} x {kind.model}" for kind, count in capacity.gpus) or "none"
    return f"a task asks for {_gpus(wanted.gpu)}; this node offers {there_are}"


def _cores(milli: int) -> str:
    return f"{milli / 1000:g}"


def _gpus(request: GpuRequest) -> str:
    memory = f" with {bytes_text(request.min_vram_bytes)} each" if request.min_vram_bytes else ""
    return f"{request.count} x {request.model or 'any GPU'}{memory}"
