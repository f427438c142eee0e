"""Direct calls on the wire: what goes in comes out, and what makes no sense is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.jobs import CommandWork, JobSpec
from farlane.errors import FarlaneError, InvalidInput, TooLarge
from farlane.wire.compute import (
    MAX_FILES_BYTES,
    ChannelFields,
    TaskOrder,
    TaskResult,
    VoucherFields,
    order_from_wire,
    order_to_wire,
    result_from_wire,
    result_to_wire,
)
from farlane.wire.v1 import compute_pb2

VOUCHER = VoucherFields(2**96 - 1, 3, b"\1" * 32, b"\2" * 65)
ORDER = TaskOrder(
    ChannelFields("0x" + "1" * 40, "0x" + "2" * 40, "0x" + "3" * 40, b"\4" * 32), "task-1",
    JobSpec(name="direct", command=CommandWork("true")), {"a/b.txt": b"\0\xff", "c": b""}, 7, 10**14, b"\5" * 65,
    VOUCHER, b"function", b"payload",
)  # fmt: skip
RESULT = TaskResult(
    b"leaf", (b"\6" * 32,), b"\7" * 32, b"\x08" * 65, 3,
    Failure(FailureKind.EXCEPTION, "ValueError: no", "Traceback", b"pickle"), {"out": b"x"}, b"out", b"err", b"value",
)  # fmt: skip


def test_an_order_survives_the_wire() -> None:
    assert order_from_wire(order_to_wire(ORDER)) == ORDER


def test_a_result_survives_the_wire() -> None:
    assert result_from_wire(result_to_wire(RESULT)) == RESULT


Change = Callable[[compute_pb2.TaskOrder], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda order: setattr(order, "signature", b"\1" * 64), "signature has 64 bytes"),
        (lambda order: setattr(order.channel, "salt", b""), "salt has 0 bytes"),
        (lambda order: setattr(order.channel, "payer", "x" * 50), "payer"),
        (lambda order: setattr(order, "task", "x" * 200), "task id"),
        (lambda order: setattr(order.voucher, "cumulative", b"\1" * 13), "cumulative amount has 13"),
        (lambda order: order.inputs.add(path="../up", content=b""), "plain relative path"),
        (lambda order: order.inputs.add(path="c", content=b""), "given twice"),
        (lambda order: order.spec.ClearField("command"), "exactly one|neither|command"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(change: Change, words: str) -> None:
    message = order_to_wire(ORDER)
    change(message)
    with pytest.raises(FarlaneError, match=words):
        order_from_wire(message)


def test_files_beyond_the_cap_are_refused_on_both_sides() -> None:
    message = order_to_wire(ORDER)
    message.inputs.add(path="big", content=bytes(MAX_FILES_BYTES + 1))
    with pytest.raises(TooLarge, match="through a hub"):
        order_from_wire(message)


def test_a_failure_that_nobody_knows_is_refused() -> None:
    message = result_to_wire(RESULT)
    message.failure.kind = "bored"
    with pytest.raises(InvalidInput, match="unknown"):
        result_from_wire(message)
