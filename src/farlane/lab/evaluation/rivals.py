"""Who competes: every rule of the literature in each setting, and learned policies from checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from farlane.errors import FarlaneError, NotFound
from farlane.kit.suggestions import hint
from farlane.lab.evaluation.merging import merged
from farlane.scheduler.learned.checkpoint import MAX_BYTES, Checkpoint, read_checkpoint
from farlane.scheduler.learned.features import GLOBAL_FEATURES, NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.learned.network import SHAPES, Weights
from farlane.scheduler.learned.shipped import shipped_bytes
from farlane.scheduler.sim.packing import Packing
from farlane.scheduler.sim.rules import Rule

FEATURES = {
    "task": TASK_FEATURES, "global": GLOBAL_FEATURES, "node": NODE_FEATURES, "pair": PAIR_FEATURES,
}  # fmt: skip
"""What checkpoints have to be trained for."""
SHIPPED = "shipped"
"""Stands for the weights that come with the package."""
FIXED_TIES = " (fixed ties)"


class Kind(StrEnum):
    """Settings in which policies run."""

    QUEUE = "queue"
    PACKING = "packing"


@dataclass(frozen=True, slots=True)
class RulePolicy:
    """A rule: number of `Rule` or `Packing`; fixed_ties: equals go to the first node, else to one by chance."""

    name: str
    rule: int
    fixed_ties: bool = False

    @property
    def digest(self) -> str:
        """Return text that is different for each policy that decides differently."""
        return f"rule {self.rule} {self.fixed_ties}"


@dataclass(frozen=True, slots=True)
class LearnedPolicy:
    """Weights of a network, float64; those of an ensemble are merged into one."""

    name: str
    weights: Weights
    digest: str = field(default="", compare=False)

    @staticmethod
    def of(name: str, members: Sequence[Weights]) -> LearnedPolicy:
        """Return the policy of some networks whose scores are averaged."""
        weights = merged(members)
        data = b"".join(np.ascontiguousarray(array).tobytes() for array in weights)
        return LearnedPolicy(name, weights, f"learned {hashlib.sha256(data).hexdigest()}")


Policy = RulePolicy | LearnedPolicy


def rules_of(kind: Kind) -> tuple[RulePolicy, ...]:
    """Return all rules of a setting; those of packing with ties by chance, as ours, and FGD as published besides."""
    if kind is Kind.QUEUE:
        return tuple(RulePolicy(rule.name, int(rule)) for rule in Rule)
    random = tuple(RulePolicy(rule.name, int(rule)) for rule in Packing)
    return (*random, RulePolicy(Packing.FGD.name + FIXED_TIES, int(Packing.FGD), fixed_ties=True))


def rule_named(kind: Kind, name: str) -> RulePolicy:
    """Return a rule of a setting by its name, in any case and with `-` or `_`.

    Raises:
        NotFound: there is none; the message names the nearest.
    """
    wanted = name.upper().replace("-", "_")
    for rule in rules_of(kind):
        if rule.name.upper().replace("-", "_") == wanted:
            return rule
    raise NotFound(
        f"no rule {name!r} in a {kind} setting; {hint(wanted, [rule.name for rule in rules_of(kind)])}"
    )


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint that this program's network can run.

    Raises:
        NotFound: there is no such file.
        Corrupted, InvalidInput, TooLarge, UnsupportedVersion: as `read_checkpoint`, with the path before the reason.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NotFound(
            f"cannot read the checkpoint {path}: {error.strerror}; expected a file that "
            "`farlane scheduler train` or `export` wrote"
        ) from error
    try:
        return read_checkpoint(data, FEATURES, SHAPES)
    except FarlaneError as error:
        raise type(error)(f"{path}: {error.message}", **error.facts) from error


def read_weights(path: Path | None) -> tuple[Checkpoint, int]:
    """Return a checkpoint and its size in bytes; None stands for the shipped one. Raises as `load_checkpoint`."""
    if path is not None:
        return load_checkpoint(path), path.stat().st_size
    data = shipped_bytes()
    return read_checkpoint(data, FEATURES, SHAPES), len(data)


def policy_named(kind: Kind, name: str) -> Policy:
    """Return the policy that people mean: `shipped`, the file of a checkpoint (*.npz), or a rule of a setting.

    Raises:
        NotFound: there is no such rule or file; and as `load_checkpoint`.
    """
    if name == SHIPPED or name.endswith(".npz"):
        checkpoint, _ = read_weights(None if name == SHIPPED else Path(name))
        return LearnedPolicy.of(name, members_of(checkpoint))
    return rule_named(kind, name)


def members_of(checkpoint: Checkpoint) -> tuple[Weights, ...]:
    """Return the networks of a checkpoint, float64."""
    return tuple(
        Weights(*(np.asarray(arrays[name], np.float64) for name in Weights._fields))
        for arrays in checkpoint.members
    )
