"""Inference on the wire: every value survives it in pieces, and nonsense is refused."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.inference import (
    Datatype,
    EmbedReply,
    EmbedRequest,
    FinishReason,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    Message,
    ModelDescription,
    Sampling,
    Tensor,
    TensorSpec,
    TensorsReply,
    TensorsRequest,
)
from farlane.errors import InvalidInput
from farlane.wire import inference
from farlane.wire.v1 import serving_pb2

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
SIZES = st.integers(0, inference.MAX_SIZE)
SHAPES = st.lists(st.integers(-1, inference.MAX_SIZE), max_size=5).map(tuple)
NAMES = TEXT.filter(bool)
TENSORS = st.lists(
    st.builds(Tensor, NAMES, st.sampled_from(Datatype), SHAPES, st.binary(max_size=40)), max_size=3
).map(tuple)
TEXTS = st.lists(TEXT, max_size=4).map(tuple)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, (1 << 32) - 1)
PAIRS = st.dictionaries(NAMES, TEXT, max_size=3).map(lambda found: tuple(found.items()))
SAMPLINGS = st.builds(
    Sampling,
    max_tokens=st.none() | COUNTS,
    temperature=FLOATS,
    top_p=FLOATS,
    seed=st.none() | COUNTS,
    stop=TEXTS,
    frequency_penalty=FLOATS,
    presence_penalty=FLOATS,
)
REQUESTS = st.one_of(
    st.builds(TensorsRequest, TENSORS, TEXTS, PAIRS),
    st.builds(EmbedRequest, TEXTS, st.none() | COUNTS),
    st.builds(
        GenerateRequest, st.lists(st.builds(Message, TEXT, TEXT), max_size=3).map(tuple), TEXT, SAMPLINGS
    ),
)
WHOLE = st.builds(
    lambda name, kind, shape: Tensor(
        name, kind, shape, bytes(math.prod(shape) * inference.ELEMENT_BYTES[kind])
    ),
    NAMES,
    st.sampled_from([*inference.ELEMENT_BYTES]),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
)
REPLIES = st.one_of(
    st.builds(TensorsReply, st.lists(WHOLE, max_size=3).map(tuple)),
    st.builds(EmbedReply, st.binary(max_size=9).map(lambda row: row * 4), st.just(1), COUNTS),
    st.builds(GeneratePiece, TEXT, st.none() | st.sampled_from(FinishReason), COUNTS, COUNTS),
)
SPECS = st.lists(st.builds(TensorSpec, TEXT, st.sampled_from(Datatype), SHAPES), max_size=3).map(tuple)
DESCRIPTIONS = st.builds(
    ModelDescription,
    runtime=TEXT,
    kinds=st.lists(st.sampled_from(InferenceKind), max_size=3).map(tuple),
    inputs=SPECS,
    outputs=SPECS,
    context_tokens=SIZES,
    max_batch=SIZES,
)


@given(REQUESTS)
def test_a_request_survives_the_wire(request: TensorsRequest | EmbedRequest | GenerateRequest) -> None:
    assert inference.decode_request(inference.encode_request(request)) == request


@given(REPLIES)
def test_a_reply_survives_the_wire(reply: TensorsReply | EmbedReply | GeneratePiece) -> None:
    assert inference.decode_reply(inference.encode_reply(reply)) == reply


@given(DESCRIPTIONS)
def test_a_description_survives_the_wire(description: ModelDescription) -> None:
    assert inference.description_from_wire(inference.description_to_wire(description)) == description


@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    for decode in (inference.decode_request, inference.decode_reply):
        with contextlib.suppress(InvalidInput):
            assert decode(data) is not None


@pytest.mark.parametrize("size", [0, 1, inference.PIECE_BYTES, inference.PIECE_BYTES + 1])
def test_bytes_are_cut_into_pieces_of_which_one_is_the_last(size: int) -> None:
    data = bytes(size)
    found = list(inference.pieces(data))
    assert b"".join(piece for piece, _ in found) == data
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True]


def test_an_unknown_datatype_is_refused_by_name() -> None:
    message = serving_pb2.InferenceReply(
        tensors=serving_pb2.TensorsReply(outputs=[serving_pb2.Tensor(name="x", datatype="FP8")])
    )
    with pytest.raises(InvalidInput, match="FP8"):
        inference.decode_reply(message.SerializeToString())


def test_an_empty_message_asks_for_nothing() -> None:
    with pytest.raises(InvalidInput, match="nothing"):
        inference.decode_request(b"")


@pytest.mark.parametrize(
    "reply",
    [
        TensorsReply((Tensor("x", Datatype.FP32, (2, 3), bytes(23)),)),
        TensorsReply((Tensor("x", Datatype.FP32, (2, -3), bytes(24)),)),
        TensorsReply((Tensor("x", Datatype.FP32, (1 << 40, 1 << 40), b""),)),
        TensorsReply((Tensor("x", Datatype.BYTES, (1000,), bytes(4)),)),
        TensorsReply((Tensor("x" * 300, Datatype.BOOL, (1,), bytes(1)),)),
        EmbedReply(bytes(10), 3, 1),
        EmbedReply(bytes(12), 0, 1),
    ],
)
def test_a_reply_that_is_not_what_it_says_is_refused(reply: TensorsReply | EmbedReply) -> None:
    with pytest.raises(InvalidInput):
        inference.decode_reply(inference.encode_reply(reply))


@pytest.mark.parametrize("shape", [(-2,), (1 << 40,), (1,) * 33])
def test_a_model_with_an_absurd_array_is_refused(shape: tuple[int, ...]) -> None:
    lie = ModelDescription(runtime="x", kinds=(), inputs=(TensorSpec("x", Datatype.FP32, shape),))
    with pytest.raises(InvalidInput):
        inference.description_from_wire(inference.description_to_wire(lie))
