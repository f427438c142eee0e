"""Which requests share a batch, in virtual time, and that joining and splitting change nobody's answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.inference import (
    Datatype,
    EmbedReply,
    EmbedRequest,
    Tensor,
    TensorsReply,
    TensorsRequest,
)
from farlane.errors import Internal
from farlane.models.serving.batching import BatchQueue, Waiting, batch_key, join, rows_of, split


def request(
    rows: int, *, width: int = 2, value: float = 1.0, outputs: tuple[str, ...] = ()
) -> TensorsRequest:
    data = np.full((rows, width), value, "<f4").tobytes()
    return TensorsRequest((Tensor("x", Datatype.FP32, (rows, width), data),), outputs)


def test_a_request_waits_for_company_only_so_long() -> None:
    queue = BatchQueue(max_rows=4, max_delay_s=1.0)
    assert queue.due_s() is None
    queue.add(Waiting(1, "a", 1, 10.0))
    queue.add(Waiting(2, "a", 1, 10.5))
    assert queue.take(10.9) == []
    assert queue.due_s() == 11.0
    assert queue.take(11.0) == [1, 2]
    assert len(queue) == 0


def test_a_full_batch_goes_at_once_and_the_rest_waits() -> None:
    queue = BatchQueue(max_rows=4, max_delay_s=1.0)
    for ticket in range(5):
        queue.add(Waiting(ticket, "a", 1, 0.0))
    assert queue.take(0.0) == [0, 1, 2, 3]
    assert queue.take(0.0) == []
    assert queue.take(1.0) == [4]


def test_other_keys_do_not_mix_nor_hold_each_other_up() -> None:
    queue = BatchQueue(max_rows=2, max_delay_s=1.0)
    queue.add(Waiting(1, "a", 1, 0.0))
    queue.add(Waiting(2, "b", 1, 0.1))
    queue.add(Waiting(3, "b", 1, 0.2))
    queue.add(Waiting(4, None, 1, 0.3))
    assert queue.take(0.3) == [2, 3]
    assert queue.take(0.3) == [4]
    assert queue.take(0.3) == []


def test_whoever_is_gone_is_not_in_a_batch() -> None:
    queue = BatchQueue(max_rows=8, max_delay_s=1.0)
    queue.add(Waiting(1, "a", 1, 0.0))
    queue.add(Waiting(2, "a", 1, 0.0))
    queue.remove(1)
    queue.remove(99)
    assert queue.take(1.0) == [2]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=30), st.integers(1, 8))
def test_everyone_runs_once_in_order_and_no_batch_is_too_large(rows: list[int], most: int) -> None:
    queue = BatchQueue(max_rows=most, max_delay_s=0.0)
    for ticket, count in enumerate(rows):
        queue.add(Waiting(ticket, "a", count, float(ticket)))
    ran: list[int] = []
    while batch := queue.take(1e9):
        assert len(batch) == 1 or sum(rows[ticket] for ticket in batch) <= most
        ran += batch
    assert ran == list(range(len(rows)))


def test_only_what_fits_together_shares_a_key() -> None:
    assert batch_key(request(1), 16) == batch_key(request(3), 16)
    assert batch_key(request(1), 16) != batch_key(request(1, width=3), 16)
    assert batch_key(request(1), 16) != batch_key(request(1, outputs=("y",)), 16)
    assert batch_key(request(1), 1) is None
    assert batch_key(TensorsRequest((Tensor("x", Datatype.FP32, (), bytes(4)),)), 16) is None
    assert batch_key(TensorsRequest((Tensor("x", Datatype.BYTES, (1,), bytes(4)),)), 16) is None
    assert batch_key(EmbedRequest(("a",), 8), 1) != batch_key(EmbedRequest(("a",)), 1)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_joining_and_splitting_is_the_identity(rows: list[int]) -> None:
    requests = [request(count, value=index) for index, count in enumerate(rows)]
    joined = join(requests)
    assert isinstance(joined, TensorsRequest)
    assert joined.inputs[0].shape == (sum(rows), 2)
    replies = split(TensorsReply(joined.inputs), [rows_of(each) for each in requests])
    for each, reply in zip(requests, replies, strict=True):
        assert isinstance(reply, TensorsReply)
        assert reply.outputs == each.inputs


def test_vectors_and_their_tokens_go_back_to_their_texts() -> None:
    joined = join([EmbedRequest(("a", "b")), EmbedRequest(("c",))])
    assert joined == EmbedRequest(("a", "b", "c"))
    vectors = np.arange(6, dtype="<f4").tobytes()
    first, second = split(EmbedReply(vectors, 2, 9, (2, 3, 4)), [2, 1])
    assert first == EmbedReply(vectors[:16], 2, 5, (2, 3))
    assert second == EmbedReply(vectors[16:], 2, 4, (4,))


def test_an_output_without_the_batchs_rows_is_no_batch() -> None:
    with pytest.raises(Internal, match="Serve this model with max_batch 1"):
        split(TensorsReply((Tensor("y", Datatype.FP32, (1, 2), bytes(8)),)), [1, 1])
