"""Making leaves: what the attempts of one job on one node have in common is worked out once, the rest for each."""

from __future__ import annotations

from hashlib import sha256

from farlane.domain.failures import Failure
from farlane.domain.ids import TaskId
from farlane.domain.jobs import BlobRef, JobSpec
from farlane.domain.prices import RateVector, hourly_ceiling
from farlane.domain.records import OutputFile
from farlane.domain.resources import GpuKind
from farlane.kit.cid import digest_of, parse
from farlane.ledger.leaf import (
    BLAME_CODES,
    FAILURE_CODES,
    NONE,
    Outcome,
    gpu_digest,
    output_digest,
    pack_values,
    spec_digest,
)


class LeafMaker:
    """Packs leaves of one job on one node.

    Args:
        spec: the job's, exactly as the hub keeps it.
        rates: the node's prices.
        gpu: the kind of GPU its attempts hold, if any.
    """

    def __init__(self, spec: JobSpec, rates: RateVector, gpu: GpuKind | None = None) -> None:
        reserved = spec.resources
        self._spec, self._model = spec_digest(spec), model_digest(spec)
        self._gpu = NONE if gpu is None else gpu_digest(gpu.model)
        self._gpu_count = 0 if gpu is None or reserved.gpu is None else reserved.gpu.count
        self._cpu, self._memory, self._disk = reserved.cpu_milli, reserved.memory_bytes, reserved.disk_bytes
        self._hourly = hourly_ceiling(rates, reserved, gpu)

    def pack(
        self,
        task: TaskId,
        attempt: int,
        outcome: Outcome,
        failure: Failure | None,
        input_digest: bytes,
        output: bytes,
        lease_ms: int,
        amount_nano: int,
        ended_ms: int,
        part: int = 0,
    ) -> bytes:
        """Return the packed leaf of one attempt, or of its `part`.

        Args:
            task: whose attempt.
            attempt: its number.
            outcome: how it ended.
            failure: why, where it ended badly.
            input_digest: SHA-256 of its payload.
            output: digest of its result, NONE without one.
            lease_ms: lease time both sides observed.
            amount_nano: what is owed for it.
            ended_ms: unix milliseconds.
            part: number of an interim leaf, 0 for the last.
        """
        kind = 0 if failure is None else FAILURE_CODES[failure.kind]
        blame = 0 if failure is None else BLAME_CODES[failure.rule.blame]
        return pack_values(
            task, attempt, 0, part, outcome, kind, blame, self._spec, self._model, input_digest, output, self._gpu,
            self._cpu, self._memory, self._disk, self._gpu_count, lease_ms, self._hourly, amount_nano, ended_ms,
        )  # fmt: skip


def model_digest(spec: JobSpec) -> bytes:
    """Return the SHA-256 inside the CID of the model version a job serves, NONE where it serves none."""
    return NONE if spec.serve is None else digest_of(spec.serve.version)


def payload_digest(inline: bytes, blob: BlobRef | None) -> bytes:
    """Return the SHA-256 of a payload or result, inline or kept as a blob."""
    return sha256(inline).digest() if blob is None else parse(blob.cid)


def outcome_digest(
    spec: JobSpec, inline: bytes, blob: BlobRef | None, files: tuple[OutputFile, ...]
) -> bytes:
    """Return the digest of what an attempt that ended well produced.

    A function's is that of its pickled result; a command's that of its output files, NONE where it has none; a replica
    produces nothing but answers.
    """
    if spec.serve is not None:
        return NONE
    if spec.command is None:
        return payload_digest(inline, blob)
    return output_digest((file.path, parse(file.blob.cid)) for file in files)
