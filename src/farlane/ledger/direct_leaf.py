"""The leaf of a direct call: both sides work it out alone from the order and the lease, and compare the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from farlane.domain.billing import meter
from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import JobSpec
from farlane.domain.prices import RateVector, hourly_ceiling
from farlane.domain.resources import Capacity, GpuKind
from farlane.errors import InvalidInput
from farlane.kit.cid import cid_of
from farlane.ledger.leaf import NONE, Outcome, output_digest
from farlane.ledger.leaf_maker import LeafMaker


@dataclass(frozen=True, slots=True)
class Tariff:
    """What one task is charged by: the node's rates, and the kind of GPU it gets, if any."""

    rates: RateVector
    gpu: GpuKind | None = None


@dataclass(frozen=True, slots=True)
class Produced:
    """What one task produced: a command's files by path, or a function's pickled value."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    value: bytes = b""

    @property
    def size_bytes(self) -> int:
        """How much of it travels."""
        return len(self.value) + sum(map(len, self.files.values()))


def tariff_for(spec: JobSpec, rates: RateVector, capacity: Capacity) -> Tariff:
    """Return what a task is charged by on a node; of several kinds of GPU that fit it gets the cheapest.

    Raises:
        InvalidInput: it asks for GPUs that the node has not.
    """
    wanted = spec.resources.gpu
    if wanted is None:
        return Tariff(rates)
    kinds = [kind for kind, count in capacity.gpus if wanted.accepts(kind) and count >= wanted.count]
    if not kinds:
        model = wanted.model or "any model"
        raise InvalidInput(
            f"the task asks for {wanted.count} GPU ({model}); the node offers no such devices for direct calls"
        )
    return Tariff(rates, min(kinds, key=lambda kind: (hourly_ceiling(rates, spec.resources, kind), kind)))


def reserve_ceiling(tariff: Tariff, spec: JobSpec, payload_bytes: int = 0) -> int:
    """Return the most one direct task may cost, in nano-credits: what its order must allow."""
    return meter(tariff.rates, spec, tariff.gpu).reserve_ceiling(payload_bytes)


def amount_ceiling(
    tariff: Tariff,
    spec: JobSpec,
    lease_ms: int,
    payload_bytes: int,
    output_bytes: int,
    failure: Failure | None,
) -> int:
    """Return what a direct task costs, in nano-credits, rounded up once; nothing where the failure is not paid."""
    if failure is not None and not failure.rule.paid:
        return 0
    price = meter(tariff.rates, spec, tariff.gpu)
    brought = sum(one.blob.size_bytes for one in spec.command.inputs) if spec.command else payload_bytes
    return min(price.charge_ceiling(lease_ms, brought + output_bytes), price.reserve_ceiling(payload_bytes))


def input_digest(spec: JobSpec, payload: bytes) -> bytes:
    """Return what an order and its leaf say of the arguments: zeros for a command, whose files are in its spec."""
    return NONE if spec.function is None else sha256(payload).digest()


def direct_leaf(
    tariff: Tariff,
    spec: JobSpec,
    payload: bytes,
    place: int,
    lease_ms: int,
    produced: Produced,
    failure: Failure | None,
    ended_ms: int,
) -> bytes:
    """Return the packed leaf of one direct task; direct tasks are numbered by the places of their orders.

    Args:
        tariff: what was agreed when the order was made.
        spec: what was ordered.
        payload: the arguments' pickle, empty for a command.
        place: number of the order.
        lease_ms: how long it ran.
        produced: what came back.
        failure: why it failed, None where it did not.
        ended_ms: unix milliseconds.
    """
    amount = amount_ceiling(tariff, spec, lease_ms, len(payload), produced.size_bytes, failure)
    outcome = Outcome.DONE if failure is None else Outcome.FAILED
    output = _output_digest(spec, produced) if failure is None else NONE
    return LeafMaker(spec, tariff.rates, tariff.gpu).pack(
        task_id(JobId(place + 1), 0), 1, outcome, failure, input_digest(spec, payload), output,
        lease_ms, amount, ended_ms,
    )  # fmt: skip


def check_direct_spec(spec: JobSpec, inputs: Mapping[str, bytes], function: bytes, payload: bytes) -> None:
    """Check that a specification is one that direct calls know, and that what came with it is what it names.

    Raises:
        InvalidInput: it needs packages, or the files or the function are others.
    """
    if spec.environment is not None:
        raise InvalidInput(
            "a direct call installs no packages (`requires`): call a node that has them, or use a hub"
        )
    if spec.function is not None:
        if inputs or cid_of(function) != spec.function.function.cid:
            raise InvalidInput("the function's pickle is not the one that the order's specification names")
        return
    if spec.command is None or function or payload:
        raise InvalidInput("the order is for a command, and brings a function or arguments: send one of both")
    named = {file.path: file.blob.cid for file in spec.command.inputs}
    found = {path: cid_of(content) for path, content in inputs.items()}
    if named != found:
        wrong = ", ".join(min(set(named.items()) ^ set(found.items()), key=str))
        raise InvalidInput(f"the files of the order are not those its specification names, such as {wrong}")


def _output_digest(spec: JobSpec, produced: Produced) -> bytes:
    if spec.function is not None:
        return sha256(produced.value).digest()
    return output_digest((path, sha256(content).digest()) for path, content in produced.files.items())
