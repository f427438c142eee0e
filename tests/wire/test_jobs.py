"""Job specifications: every one survives the wire, and nonsense is refused by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.jobs import (
    BlobRef,
    CommandWork,
    Durability,
    Environment,
    FunctionWork,
    InputFile,
    JobSpec,
    ServeWork,
)
from farlane.domain.resources import MAX_BYTES, GpuRequest, Resources
from farlane.errors import InvalidJob
from farlane.wire.jobs import MAX_FILES, MAX_TIME_MS, job_spec_from_wire, job_spec_to_wire
from farlane.wire.v1 import types_pb2

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
NAMED = TEXT.filter(bool)
PARTS = st.text("aZ09_ *-", min_size=1, max_size=8)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
BLOBS = st.builds(BlobRef, st.text("abc234", min_size=1, max_size=20), st.integers(0, MAX_BYTES))
NANO = st.integers(0, (1 << 63) - 1)
PAIRS = st.dictionaries(NAMED, TEXT, max_size=4).map(lambda pairs: tuple(pairs.items()))
GPUS = st.builds(GpuRequest, st.integers(1, 1024), st.none() | NAMED, st.integers(0, MAX_BYTES))
RESOURCES = st.builds(
    Resources, st.integers(1, 10**6), st.integers(1, MAX_BYTES), st.integers(0, MAX_BYTES), st.none() | GPUS
)
FUNCTIONS = st.builds(FunctionWork, BLOBS, st.integers(0, 99).map("3.{}".format), TEXT)
COMMANDS = st.builds(
    CommandWork,
    NAMED,
    TEXT,
    st.lists(st.builds(InputFile, PATHS, BLOBS), max_size=3).map(tuple),
    st.lists(PATHS, max_size=3).map(tuple),
)
VERSION = "bafyreigdmqpykrgxyaxtlafqpqhzrb7qy2rh75nldvfd4tucqmqqme5yje"
SERVES = st.builds(ServeWork, st.just(VERSION), NAMED, TEXT, PAIRS)
SPECS = st.builds(
    lambda work, **rest: JobSpec(
        function=work if isinstance(work, FunctionWork) else None,
        command=work if isinstance(work, CommandWork) else None,
        serve=work if isinstance(work, ServeWork) else None,
        **rest,
    ),
    FUNCTIONS | COMMANDS | SERVES,
    name=NAMED,
    resources=RESOURCES,
    priority=st.integers(0, 100),
    retries=st.integers(0, 1000),
    timeout_ms=st.integers(1, MAX_TIME_MS),
    deadline_at=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    max_price=st.none() | NANO,
    budget=st.none() | NANO,
    durability=st.sampled_from(Durability),
    labels=PAIRS,
    env=PAIRS,
    environment=st.none() | st.builds(Environment, NAMED, st.lists(TEXT, max_size=3).map(tuple)),
    estimate_ms=st.none() | st.integers(0, MAX_TIME_MS),
    profile=TEXT,
    organisation=TEXT,
    publisher=TEXT,
)
SPEC = JobSpec(name="job", command=CommandWork("true"))
FUNCTION = FunctionWork(BlobRef("bafy", 10), "3.11", "f")


@settings(deadline=None)
@given(SPECS)
def test_a_specification_survives_the_wire(spec: JobSpec) -> None:
    data = job_spec_to_wire(spec).SerializeToString()
    assert job_spec_from_wire(types_pb2.JobSpec.FromString(data)) == spec


def test_nothing_and_zero_stay_apart() -> None:
    spec = replace(SPEC, max_price=0, budget=None, estimate_ms=0, deadline_at=None)
    read = job_spec_from_wire(job_spec_to_wire(spec))
    assert (read.max_price, read.budget, read.estimate_ms, read.deadline_at) == (0, None, 0, None)


def test_a_job_without_resources_gets_the_usual_ones() -> None:
    message = job_spec_to_wire(SPEC)
    message.ClearField("resources")
    assert job_spec_from_wire(message).resources == Resources()


def test_a_job_is_a_function_or_a_command() -> None:
    message = job_spec_to_wire(SPEC)
    message.function.python = "3.11"
    with pytest.raises(InvalidJob, match="this one has function and command"):
        job_spec_from_wire(message)
    with pytest.raises(InvalidJob, match="this one has none"):
        job_spec_from_wire(types_pb2.JobSpec(name="x", timeout_ms=1))


def change(**fields: object) -> Callable[[types_pb2.JobSpec], None]:
    return lambda message: message.MergeFrom(types_pb2.JobSpec(**fields))


def command(**fields: object) -> Callable[[types_pb2.JobSpec], None]:
    return change(command=types_pb2.CommandWork(**fields))


def file(path: str) -> types_pb2.File:
    return types_pb2.File(path=path, blob=types_pb2.BlobRef(cid="bafy"))


def pair(key: str, value: str = "") -> types_pb2.KeyValue:
    return types_pb2.KeyValue(key=key, value=value)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda message: message.ClearField("name"), "job name is missing"),
        (change(name="n" * 201), "job name has 201 characters; expected at most 200"),
        (change(name="a\0b"), "NUL"),
        (change(priority=101), "priority is 101; expected 0 to 100"),
        (change(retries=4294967295), "retries is 4294967295"),
        (lambda message: message.ClearField("timeout_ms"), "timeout in milliseconds is 0"),
        (change(timeout_ms=(1 << 64) - 1), "timeout in milliseconds is 18446744073709551615"),
        (change(deadline_at=float("nan")), "deadline_at .* is nan"),
        (change(deadline_at=float("inf")), "deadline_at .* is inf"),
        (change(max_price=1 << 63), "max_price in nano-credits is 9223372036854775808"),
        (change(budget=1 << 63), "budget in nano-credits is 9223372036854775808"),
        (change(budget=(1 << 64) - 1), "budget in nano-credits"),
        (change(estimate_ms=(1 << 64) - 1), "estimate in milliseconds"),
        (change(resources=types_pb2.Resources(cpu_milli=4294967295, memory_bytes=1)), "cpu is 4294967295"),
        (change(resources=types_pb2.Resources(memory_bytes=(1 << 64) - 1)), "memory is 18446744073709551615"),
        (change(resources=types_pb2.Resources(gpu=types_pb2.GpuRequest())), "gpu count is 0"),
        (
            change(resources=types_pb2.Resources(gpu=types_pb2.GpuRequest(count=1, model="A" * 129))),
            "GPU model",
        ),
        (
            change(resources=types_pb2.Resources(gpu=types_pb2.GpuRequest(min_vram_bytes=1 << 63))),
            "GPU memory",
        ),
        (change(labels=[pair("")]), "a key of labels is missing"),
        (change(labels=[pair("zone", "a"), pair("zone", "b")]), "labels: 'zone' is given twice"),
        (change(labels=[pair(str(n)) for n in range(65)]), "65 labels; expected at most 64"),
        (change(env=[pair("A", "v" * 40_000)]), "env 'A' has 40000 characters"),
        (change(environment=types_pb2.Environment(lines=["x"])), "environment digest is missing"),
        (change(environment=types_pb2.Environment(digest="d", lines=["x"] * 2001)), "2001 requirement lines"),
        (change(environment=types_pb2.Environment(digest="d", lines=["x" * 20_000])), "requirement line"),
        (change(publisher="p" * 201), "publisher has 201"),
        (lambda message: message.command.ClearField("run"), "run is missing"),
        (command(run="r" * 300_000), "run has 300000 characters"),
        (command(inputs=[file("/etc/passwd")]), "input file '/etc/passwd' is not a plain relative path"),
        (command(inputs=[file("a/../../b")]), "not a plain relative path"),
        (command(inputs=[file("a//b")]), "not a plain relative path"),
        (command(inputs=[file("a\\b")]), "not a plain relative path"),
        (command(inputs=[file("")]), "input file is missing"),
        (command(inputs=[file("p" * 1025)]), "input file has 1025"),
        (command(inputs=[types_pb2.File(path="a")]), "input file 'a' has no usable CID"),
        (command(inputs=[file("a")] * (MAX_FILES + 1)), "10001 input files"),
        (command(outputs=["../out"]), "output pattern"),
        (command(outputs=["o"] * 1001), "1001 output patterns"),
    ],
)
def test_nonsense_is_refused_by_name(spoil: Callable[[types_pb2.JobSpec], None], said: str) -> None:
    message = job_spec_to_wire(SPEC)
    spoil(message)
    with pytest.raises(InvalidJob, match=said):
        job_spec_from_wire(message)


@pytest.mark.parametrize("python", ["", "3", "3.11.4", "three.eleven", "3.²", "3." + "1" * 99])
def test_a_function_names_its_python_minor(python: str) -> None:
    message = job_spec_to_wire(replace(SPEC, command=None, function=FUNCTION))
    message.function.python = python
    with pytest.raises(InvalidJob, match=r"Python version .* expected something like '3.11'"):
        job_spec_from_wire(message)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SPEC, priority=-1),
        replace(SPEC, retries=1 << 32),
        replace(SPEC, timeout_ms=-5),
        replace(SPEC, budget=1 << 64),
        replace(SPEC, max_price=-1),
        replace(SPEC, name="\ud800"),
        replace(SPEC, env=(("A", "\udcff"),)),
        replace(SPEC, timeout_ms=1.5),
    ],
)
def test_what_cannot_travel_is_refused_before_it_leaves(wrong: JobSpec) -> None:
    with pytest.raises(InvalidJob, match=r"the job cannot be sent: .*; check its numbers and texts"):
        job_spec_to_wire(wrong)


@settings(deadline=None, max_examples=60)
@given(SPECS, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6))
def test_a_damaged_message_gives_a_job_or_a_refusal(spec: JobSpec, damage: list[tuple[int, int]]) -> None:
    data = bytearray(job_spec_to_wire(spec).SerializeToString())
    for position, byte in damage:
        data[position % len(data)] = byte
    try:
        message = types_pb2.JobSpec.FromString(bytes(data))
    except DecodeError:  # gRPC itself refuses what is no protobuf
        return
    with contextlib.suppress(InvalidJob):
        read = job_spec_from_wire(message)
        assert job_spec_from_wire(job_spec_to_wire(read)) == read
