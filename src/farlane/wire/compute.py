"""Direct calls on the wire: terms, orders, vouchers and results between a publisher and one node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from farlane.domain.failures import Failure
from farlane.domain.jobs import JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.errors import InvalidInput
from farlane.wire import limits
from farlane.wire.books import NodeAccount, account_of, account_to_wire
from farlane.wire.jobs import job_spec_from_wire, job_spec_to_wire
from farlane.wire.nodes import node_spec_from_wire, node_spec_to_wire
from farlane.wire.results import failure_from_wire, failure_to_wire
from farlane.wire.v1 import compute_pb2
from farlane.wire.versions import check_peer, this_version

MAX_FILES_BYTES = 4 << 20
"""What one task brings (input files, or function and arguments), and its output files or value, may not be more:
they travel in one message."""
MESSAGE_BYTES = MAX_FILES_BYTES + (4 << 20)
"""A message of this service: the files, and room for the rest."""
MAX_PRINT_BYTES = 1 << 20
MAX_UNPAID_TASKS = 64
"""No node lets more tasks of one channel run or be unpaid at once."""
STREAMS = ("stdout", "stderr")
MAX_INLINE_FILES = 1000
MAX_TASK_CHARS = 128
MAX_PROOF = 64
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
)
"""gRPC channel options of both sides."""
_ADDRESS_CHARS = 42


@dataclass(frozen=True, slots=True)
class NodeTerms:
    """What a node says of itself.

    network: whose books it keeps; spec: what it asks and offers; account: its key, who is paid, and by which
    delegation; tasks: how many of one channel may run or be unpaid at once; credit_nano: how much one payer may owe,
    what runs included.
    """

    network: str
    spec: NodeSpec
    account: NodeAccount
    tasks: int = 1
    credit_nano: int = 0

    @property
    def key(self) -> str:
        """The address of the node's key."""
        return self.account.key


@dataclass(frozen=True, slots=True)
class ChannelFields:
    """The four that make a channel; addresses as texts that are still to be parsed."""

    payer: str
    provider: str
    signer: str
    salt: bytes


@dataclass(frozen=True, slots=True)
class VoucherFields:
    """A voucher of the channel at hand; cumulative in units."""

    cumulative: int
    tasks: int
    root: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """One task as it is ordered.

    inputs: path -> content; place: number of the order in its channel; limit_nano: the most it may cost; function,
    payload: pickles of a function and its arguments, empty for a command.
    """

    channel: ChannelFields
    task: str
    spec: JobSpec
    inputs: Mapping[str, bytes]
    place: int
    limit_nano: int
    signature: bytes
    voucher: VoucherFields | None = None
    function: bytes = b""
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of it.

    leaf, proof: the last of `size` leaves in the tree of `root`; signature: the node's over that head; outputs: a
    command's files; value: a function's pickled one.
    """

    leaf: bytes
    proof: tuple[bytes, ...]
    root: bytes
    signature: bytes
    size: int
    failure: Failure | None = None
    outputs: Mapping[str, bytes] = field(default_factory=dict)
    stdout: bytes = b""
    stderr: bytes = b""
    value: bytes = b""


def terms_to_wire(terms: NodeTerms) -> compute_pb2.NodeTerms:
    """Return terms as they travel."""
    return compute_pb2.NodeTerms(
        version=this_version(),
        network=terms.network,
        key=terms.key,
        spec=node_spec_to_wire(terms.spec),
        account=account_to_wire(terms.account),
        tasks=terms.tasks,
        credit_nano=terms.credit_nano,
    )


def terms_from_wire(message: compute_pb2.NodeTerms) -> NodeTerms:
    """Read a node's terms.

    Raises:
        UnsupportedVersion: it speaks another version of the protocol.
        InvalidInput: they make no sense.
    """
    check_peer(message.version)
    return NodeTerms(
        limits.text("network", message.network, limits.MAX_ID_CHARS),
        node_spec_from_wire(message.spec),
        account_of(message.account),
        limits.integer("tasks of one channel", message.tasks, 1, MAX_UNPAID_TASKS),
        limits.integer("credit", message.credit_nano, 0, limits.MAX_INTEGER),
    )


def order_to_wire(order: TaskOrder) -> compute_pb2.TaskOrder:
    """Return an order as it travels.

    Raises:
        TooLarge: what it brings is beyond MAX_FILES_BYTES.
        InvalidInput: something in it cannot travel.
    """
    _check_brought(order.inputs, order.function, order.payload)
    channel = order.channel
    with limits.sendable("the order"):
        return compute_pb2.TaskOrder(
            channel=compute_pb2.DirectChannel(
                payer=channel.payer, provider=channel.provider, signer=channel.signer, salt=channel.salt
            ),
            task=order.task,
            spec=job_spec_to_wire(order.spec),
            inputs=_files_to_wire(order.inputs),
            place=order.place,
            limit_nano=order.limit_nano,
            signature=order.signature,
            voucher=None if order.voucher is None else voucher_to_wire(order.voucher),
            function=order.function,
            payload=order.payload,
        )


def order_from_wire(message: compute_pb2.TaskOrder) -> TaskOrder:
    """Read an order: shapes and sizes; whether it is signed is for the ledger to say.

    Raises:
        InvalidInput, TooLarge: it makes no sense.
    """
    channel = message.channel
    fields = ChannelFields(
        limits.text("payer", channel.payer, _ADDRESS_CHARS, required=True),
        limits.text("provider", channel.provider, _ADDRESS_CHARS, required=True),
        limits.text("signer", channel.signer, _ADDRESS_CHARS, required=True),
        _exactly("salt", channel.salt, 32),
    )
    inputs = _files_from_wire("the input files", message.inputs)
    _check_brought(inputs, message.function, message.payload)
    return TaskOrder(
        fields,
        limits.text("task id", message.task, MAX_TASK_CHARS, required=True),
        job_spec_from_wire(message.spec),
        inputs,
        limits.integer("place", message.place, 0, limits.MAX_INTEGER),
        limits.integer("limit", message.limit_nano, 0, limits.MAX_INTEGER),
        _exactly("signature", message.signature, 65),
        voucher_from_wire(message.voucher) if message.HasField("voucher") else None,
        message.function,
        message.payload,
    )


def voucher_to_wire(voucher: VoucherFields) -> compute_pb2.DirectVoucher:
    """Return a voucher as it travels."""
    return compute_pb2.DirectVoucher(
        cumulative=voucher.cumulative.to_bytes(12, "big"), tasks=voucher.tasks, root=voucher.root,
        signature=voucher.signature,
    )  # fmt: skip


def voucher_from_wire(message: compute_pb2.DirectVoucher) -> VoucherFields:
    """Read a voucher.

    Raises:
        InvalidInput: it makes no sense.
    """
    return VoucherFields(
        int.from_bytes(_exactly("cumulative amount", message.cumulative, 12), "big"),
        limits.integer("tasks", message.tasks, 1, limits.MAX_INTEGER),
        _exactly("root", message.root, 32),
        _exactly("signature", message.signature, 65),
    )


def result_to_wire(result: TaskResult) -> compute_pb2.TaskResult:
    """Return a result as it travels."""
    return compute_pb2.TaskResult(
        leaf=result.leaf,
        proof=result.proof,
        root=result.root,
        signature=result.signature,
        size=result.size,
        failure=None if result.failure is None else failure_to_wire(result.failure),
        outputs=_files_to_wire(result.outputs),
        stdout=result.stdout,
        stderr=result.stderr,
        value=result.value,
    )


def result_from_wire(message: compute_pb2.TaskResult) -> TaskResult:
    """Read a result: shapes and sizes; whether it is true is for the publisher to check.

    Raises:
        InvalidInput, TooLarge: it makes no sense.
    """
    limits.at_most("steps of a proof", message.proof, MAX_PROOF)
    return TaskResult(
        message.leaf,
        tuple(_exactly("a step of the proof", step, 32) for step in message.proof),
        _exactly("root", message.root, 32),
        _exactly("signature", message.signature, 65),
        limits.integer("leaves", message.size, 1, limits.MAX_INTEGER),
        failure_from_wire(message.failure) if message.HasField("failure") else None,
        _files_from_wire("the output files", message.outputs),
        message.stdout,
        message.stderr,
        message.value,
    )


def _check_brought(inputs: Mapping[str, bytes], function: bytes, payload: bytes) -> None:
    _check_size("what the task brings", (*inputs.values(), function, payload))


def _files_to_wire(files: Mapping[str, bytes]) -> list[compute_pb2.InlineFile]:
    return [compute_pb2.InlineFile(path=path, content=content) for path, content in files.items()]


def _files_from_wire(what: str, received: Iterable[compute_pb2.InlineFile]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for file in received:
        path = limits.relative_path(f"a path of {what}", file.path)
        if path in files or len(files) >= MAX_INLINE_FILES:
            raise InvalidInput(f"{what}: {path!r} is given twice, or there are more than {MAX_INLINE_FILES}")
        files[path] = file.content
    _check_size(what, files.values())
    return files


def _check_size(what: str, contents: Iterable[bytes]) -> None:
    size = sum(map(len, contents))
    if size > MAX_FILES_BYTES:
        advice = "A direct call carries everything inline: send more through a hub"
        raise limits.too_large(what, size, MAX_FILES_BYTES, advice)


def _exactly(what: str, value: bytes, length: int) -> bytes:
    if len(value) != length:
        raise InvalidInput(f"{what} has {len(value)} bytes; expected {length}")
    return value
