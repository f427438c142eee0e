"""The published protocols, exactly: which jobs RLScheduler's tables are of, and how openb's tasks arrive."""

from __future__ import annotations

import hashlib

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.traces.openb import OpenbNodes, OpenbPods
from farlane.scheduler.sim.world import WHOLE_GPU, Ints

SEQUENCES = 10
SEQUENCE_JOBS = 1024
TABLE_JOBS = 10_000
"""The tables on real traces are of sequences within so many of their first jobs."""
SEED = 1
ARRIVALS = 1.3
"""openb's tasks arrive until they have asked for so many times all GPUs."""


def table_starts(
    jobs: int,
    *,
    within: int = TABLE_JOBS,
    sequences: int = SEQUENCES,
    length: int = SEQUENCE_JOBS,
    seed: int = SEED,
) -> Ints:
    """Return where the sequences of RLScheduler's tables begin: (sequences,) rows of a trace.

    Its environment draws them uniformly from a generator seeded as OpenAI's gym did: by the first eight bytes of the
    SHA-512 of the seed's digits. Source: Zhang et al., SC 2020, and its repository DIR-LAB/deep-batch-scheduler.

    Raises:
        InvalidInput: the trace is too short.
    """
    last = min(jobs, within) - length - 1
    if last <= length:
        raise InvalidInput(f"a trace of {jobs} jobs has no room for sequences of {length}")
    generator = np.random.RandomState(_gym_seed(seed))
    return np.array([generator.randint(length, last) for _ in range(sequences)], np.int64)


def inflated_order(nodes: OpenbNodes, pods: OpenbPods, seed: int, arrivals: float = ARRIVALS) -> Ints:
    """Return the rows of tasks as they arrive: shuffled, and shuffled again, until enough GPUs were asked for.

    Raises:
        InvalidInput: no task asks for a GPU, or no node has one.
    """
    wanted = arrivals * int(nodes.gpus.sum()) * WHOLE_GPU
    each = int(pods.gpu_total.sum())
    if not wanted or not each:
        raise InvalidInput("neither nodes nor tasks may be without any GPU")
    random = np.random.default_rng(seed)
    rounds = int(np.ceil(wanted / each))
    order = np.concatenate([random.permutation(len(pods)) for _ in range(rounds)])
    asked = np.cumsum(pods.gpu_total[order])
    return order[: int(np.searchsorted(asked, wanted)) + 1].astype(np.int64)


def _gym_seed(seed: int) -> list[int]:
    """Return the 32-bit words, lowest first, with which gym seeded its generator."""
    rest = int.from_bytes(hashlib.sha512(str(seed).encode()).digest()[:8], "little")
    words = []
    while rest:
        rest, word = divmod(rest, 1 << 32)
        words.append(word)
    return words or [0]
