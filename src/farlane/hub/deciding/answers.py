"""Answers: an assessment and the decisions of shadow rules, written into a block and read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from farlane.errors import Corrupted
from farlane.hub.deciding.blocks import Block
from farlane.scheduler.assessment import Assessment
from farlane.scheduler.view import Decision, Placement, Reservation

MAX_ROWS = 1 << 20
"""Placements of one answer; a policy that makes more is wrong."""
MAX_FEATURES = 256


@dataclass(frozen=True, slots=True)
class AnswerShape:
    """What an answer block holds, as the worker tells it beside the block.

    placements, reservations, features: rows and columns; drift, disagreement, doubt, names: as in `Assessment`;
    took_s: how long the policy decided.
    """

    placements: int
    reservations: int
    features: int
    drift: float
    disagreement: float
    doubt: str
    names: tuple[str, ...]
    took_s: float

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a message carries them."""
        return asdict(self)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> AnswerShape:
        """Read what `as_dict` made.

        Raises:
            Corrupted: it says more than an answer can hold.
        """
        try:
            shape = cls(
                int(told["placements"]), int(told["reservations"]), int(told["features"]), float(told["drift"]),
                float(told["disagreement"]), str(told["doubt"]), tuple(map(str, told["names"])), float(told["took_s"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupted(f"the worker's answer cannot be read: {error!r}") from error
        in_bounds = (
            0 <= shape.placements <= MAX_ROWS
            and 0 <= shape.reservations <= MAX_ROWS
            and 0 <= shape.features <= MAX_FEATURES
        )
        if not in_bounds:
            raise Corrupted(
                f"the worker's answer claims {shape.placements} placements of {shape.features} features"
            )
        return shape

    @property
    def sections(self) -> tuple[tuple[DTypeLike, tuple[int, ...]], ...]:
        """Type and shape of each column, in order: placements, scores and propensities, reservations, features."""
        return (
            ("i8", (self.placements, 4)),
            ("f8", (self.placements, 2)),
            ("f8", (self.reservations, 3)),
            ("f4", (self.placements, self.features)),
        )


def write_answer(block: Block, answer: Assessment, took_s: float) -> tuple[AnswerShape, int]:
    """Write an assessment at the block's beginning; returns its shape and where it ends, in bytes.

    Raises:
        ValueError, TypeError, OverflowError: it is not made of numbers.
    """
    decision = answer.decision
    count = len(decision.placements)
    if count > MAX_ROWS or len(decision.reservations) > MAX_ROWS:
        raise ValueError(f"{count} placements, at most {MAX_ROWS} may be made at once")
    features = (
        answer.features if len(answer.features) == count and answer.names else np.zeros((count, 0), "f4")
    )
    shape = AnswerShape(
        count, len(decision.reservations), min(features.shape[1], MAX_FEATURES), float(answer.drift),
        float(answer.disagreement), answer.doubt, answer.names[:MAX_FEATURES], took_s,
    )  # fmt: skip
    rows = _whole([(each.group, each.node, each.count, each.demand) for each in decision.placements], 4)
    weights = np.column_stack((np.asarray(answer.scores, "f8"), np.asarray(answer.propensities, "f8")))
    if len(weights) != count:
        raise ValueError(f"{len(weights)} scores of {count} placements")
    held = [(each.group, each.node, each.starts_at) for each in decision.reservations]
    reservations = np.array(held, "f8").reshape(-1, 3)
    return shape, _write(block, 0, (rows, weights, reservations, features[:, : shape.features].astype("f4")))


def read_answer(block: Block, shape: AnswerShape) -> tuple[Assessment, int]:
    """Read what `write_answer` wrote, as copies; returns it and where it ends.

    Raises:
        Corrupted: the block does not hold that much.
    """
    (rows, weights, held, features), end = _read(block, 0, shape.sections)
    reservations = tuple(Reservation(int(group), int(node), at) for group, node, at in _finite(held).tolist())
    decision = Decision(_placements(rows), reservations)
    answer = Assessment(
        decision,
        weights[:, 0],
        weights[:, 1],
        shape.drift,
        shape.disagreement,
        shape.doubt,
        features,
        shape.names,
    )
    return answer, end


def write_placements(block: Block, at: int, placements: Sequence[Placement]) -> int:
    """Write what a shadow rule would do behind what is there; returns where it ends."""
    return _write(block, at, (_whole(placements, 4),))


def read_placements(block: Block, at: int, count: int) -> tuple[tuple[Placement, ...], int]:
    """Read what `write_placements` wrote; returns it and where it ends.

    Raises:
        Corrupted: the block does not hold that much.
    """
    if not 0 <= count <= MAX_ROWS:
        raise Corrupted(f"a shadow rule claims {count} placements")
    (rows,), end = _read(block, at, (("i8", (count, 4)),))
    return _placements(rows), end


def _whole(rows: Sequence[Sequence[float]], width: int) -> NDArray[np.int64]:
    """Return rows of whole numbers.

    Raises:
        ValueError: one is not whole.
    """
    found = np.array(rows).reshape(-1, width)
    whole = found.astype(np.int64)
    if found.size and not (whole == found).all():
        raise ValueError("a placement is not made of whole numbers")
    return whole


def _finite(held: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(held).all():
        raise Corrupted("a reservation is not made of numbers")
    return held


def _placements(rows: NDArray[np.int64]) -> tuple[Placement, ...]:
    return tuple(map(Placement._make, rows.tolist()))


def _write(block: Block, at: int, arrays: Sequence[NDArray[Any]]) -> int:
    block.reserve(at + sum(array.nbytes + 8 for array in arrays))
    for array in arrays:
        there: NDArray[Any] = np.ndarray(array.shape, array.dtype, block.buffer, at)
        there[...] = array
        at = _next(at + array.nbytes)
    return at


def _read(
    block: Block, at: int, sections: Sequence[tuple[DTypeLike, tuple[int, ...]]]
) -> tuple[list[NDArray[Any]], int]:
    found: list[NDArray[Any]] = []
    for dtype, shape in sections:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        try:
            block.see(at + size)
        except ValueError as error:
            raise Corrupted(f"the worker's answer is cut off: {error}") from error
        column: NDArray[Any] = np.ndarray(shape, dtype, block.buffer, at)
        found.append(column.copy())
        at = _next(at + size)
    return found, at


def _next(at: int) -> int:
    return -(-at // 8) * 8
