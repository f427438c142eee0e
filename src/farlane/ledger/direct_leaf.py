"""The leaf of a direct call: both sides work it out alone from the order and the lease, and compare the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from farlane.domain.billing import meter
from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import JobSpec
from farlane.domain.prices import RateVector
from farlane.errors import InvalidInput
from farlane.kit.cid import cid_of
from farlane.ledger.leaf import NONE, Outcome, output_digest
from farlane.ledger.leaf_maker import LeafMaker


def reserve_ceiling(rates: RateVector, spec: JobSpec) -> int:
    """Return the most one direct task may cost, in nano-credits: what its order must allow."""
    return meter(rates, spec).reserve_ceiling(0)


def amount_ceiling(
    rates: RateVector, spec: JobSpec, lease_ms: int, output_bytes: int, failure: Failure | None
) -> int:
    """Return what a direct task costs, in nano-credits, rounded up once; nothing where the failure is not paid."""
    if failure is not None and not failure.rule.paid:
        return 0
    price = meter(rates, spec)
    moved = output_bytes + (sum(one.blob.size_bytes for one in spec.command.inputs) if spec.command else 0)
    return min(price.charge_ceiling(lease_ms, moved), price.reserve_ceiling(0))


def direct_leaf(
    rates: RateVector,
    spec: JobSpec,
    place: int,
    lease_ms: int,
    outputs: Mapping[str, bytes],
    failure: Failure | None,
    ended_ms: int,
) -> bytes:
    """Return the packed leaf at a place of the channel's tree; direct tasks are numbered by their place.

    Args:
        rates: what the node asked when the order was made.
        spec: what was ordered.
        place: index of the leaf.
        lease_ms: how long it ran.
        outputs: path -> content of the files that came back.
        failure: why it failed, None where it did not.
        ended_ms: unix milliseconds.
    """
    produced = output_digest((path, sha256(content).digest()) for path, content in outputs.items())
    amount = amount_ceiling(rates, spec, lease_ms, sum(map(len, outputs.values())), failure)
    outcome = Outcome.DONE if failure is None else Outcome.FAILED
    return LeafMaker(spec, rates).pack(
        task_id(JobId(place + 1), 0), 1, outcome, failure, NONE, produced if failure is None else NONE,
        lease_ms, amount, ended_ms,
    )  # fmt: skip


def check_direct_spec(spec: JobSpec, inputs: Mapping[str, bytes]) -> None:
    """Check that a specification is one that direct calls know, and that the files with it are those it names.

    Raises:
        InvalidInput: it is a function, needs packages, or the files are others.
    """
    if spec.command is None or spec.environment is not None or spec.resources.gpu is not None:
        raise InvalidInput("a direct call runs a command on cores and memory; functions and GPUs need a hub")
    named = {file.path: file.blob.cid for file in spec.command.inputs}
    found = {path: cid_of(content) for path, content in inputs.items()}
    if named != found:
        wrong = ", ".join(min(set(named.items()) ^ set(found.items()), key=str))
        raise InvalidInput(f"the files of the order are not those its specification names, such as {wrong}")
