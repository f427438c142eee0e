"""Direct calls: find a node on chain, open a channel to it, have a command run, pay for it; no hub takes part."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from farlane.domain.failures import Failure
from farlane.domain.jobs import BlobRef, CommandWork, InputFile, JobSpec
from farlane.domain.resources import Resources
from farlane.errors import (
    Conflict,
    ConnectionLost,
    Exhausted,
    FarlaneError,
    InsufficientFunds,
    InvalidInput,
    InvalidSignature,
    NotFound,
    PermissionRefused,
)
from farlane.kit.cid import cid_of
from farlane.kit.file_lock import FileLock
from farlane.kit.files import private_directory
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.direct_leaf import reserve_ceiling
from farlane.ledger.leaf import Leaf, spec_digest
from farlane.ledger.orders import Order, sign_order, task_digest
from farlane.ledger.port import Ledger
from farlane.ledger.receipt import Receipt
from farlane.ledger.vouchers import NANO_PER_CREDIT, Channel, SignedVoucher, sign_voucher
from farlane.sdk.direct_book import ChannelBook, PendingOrder, channel_file
from farlane.sdk.direct_check import Observed, check_result, receipt_of
from farlane.sdk.direct_nodes import FoundNode, compute_stub
from farlane.wire.compute import (
    ChannelFields,
    TaskOrder,
    TaskResult,
    VoucherFields,
    order_from_wire,
    order_to_wire,
    result_from_wire,
    voucher_to_wire,
)
from farlane.wire.status import final_error
from farlane.wire.v1 import compute_pb2

if TYPE_CHECKING:
    from farlane.wire.v1.compute_pb2_grpc import ComputeAsyncStub

    Call = grpc.aio.StreamStreamCall[compute_pb2.TaskRequest, compute_pb2.TaskReply]

SPARE_S = 60.0
"""How much longer than the task itself a call may take."""
_KEY_NAME = "session"


@dataclass(frozen=True, slots=True)
class DirectRun:
    """What came of one task: its files and prints, or why it failed; and the receipt."""

    outputs: Mapping[str, bytes]
    stdout: bytes
    stderr: bytes
    failure: Failure | None
    leaf: Leaf
    receipt: Receipt


def command_spec(
    run: str,
    *,
    resources: Resources | None = None,
    timeout_s: float = 600.0,
    inputs: Mapping[str, bytes] | None = None,
    outputs: tuple[str, ...] = (),
    setup: str = "",
    env: Mapping[str, str] | None = None,
) -> JobSpec:
    """Return the specification of a command for a direct call; its price follows from resources and time-out."""
    files = tuple(
        InputFile(path, BlobRef(cid_of(content), len(content))) for path, content in (inputs or {}).items()
    )
    return JobSpec(
        name="direct",
        command=CommandWork(run, setup, files, outputs),
        resources=resources or Resources(),
        timeout_ms=int(timeout_s * 1000),
        env=tuple((env or {}).items()),
    )


class DirectPublisher:
    """Pays one node for tasks over one channel. Of all processes only one may use a directory at a time.

    Args:
        directory: where the session key and the channel's book are kept; losing it loses the channel's checks, not
            its deposit.
        ledger: the chain.
        payer: who opens and funds the channel.
        node: whom to call.
    """

    def __init__(self, directory: Path, ledger: Ledger, payer: PrivateKey, node: FoundNode) -> None:
        self._ledger, self._payer, self._node = ledger, payer, node
        self._file = channel_file(directory, ledger.domain.network, payer.address, node.entry.key)
        self._root = self._file.path.parent

    def quote_ceiling(self, spec: JobSpec) -> int:
        """Return the most a task may cost on this node, in nano-credits."""
        return reserve_ceiling(self._node.terms.spec.rates, spec)

    async def run(
        self,
        spec: JobSpec,
        inputs: Mapping[str, bytes] | None = None,
        *,
        task: str | None = None,
        max_nano: int | None = None,
        deposit_units: int = 0,
    ) -> DirectRun:
        """Have one command run and pay for it.

        An order that a crash or a broken connection left behind is finished first: `recover` does only that.

        Args:
            spec: what to run; see `command_spec`.
            inputs: path -> content of its input files.
            task: an id of the publisher's own; a repeat of the last one gives its result again.
            max_nano: the most it may cost, in nano-credits.
            deposit_units: what to put into the channel where it is new or too small; at least what the task needs.

        Raises:
            InsufficientFunds: it may cost more than `max_nano`, or balance or deposit do not cover it.
            InvalidSignature: the node cheated; nothing was signed for it and the channel is used no more.
            PermissionRefused: the node does not work for this payer.
            FarlaneError: see `farlane.errors`.
        """
        reserve = self.quote_ceiling(spec)
        if max_nano is not None and reserve > max_nano:
            raise InsufficientFunds(
                f"the task may cost {reserve} nano-credits on this node; {max_nano} are allowed: allow more, or ask "
                "for less time or fewer cores"
            )
        with FileLock(private_directory(self._root) / "lock"):
            key = await asyncio.to_thread(self._session_key)
            book = await self._channel(key)
            async with compute_stub(self._node.entry) as stub:
                if book.pending is not None:
                    book, _ = await self._execute(stub, key, book, _pending_order(book))
                book = await self._funded(book, reserve, deposit_units)
                return await self._run(stub, key, book, task, spec, inputs or {}, reserve)

    async def _run(
        self, stub: ComputeAsyncStub, key: PrivateKey, book: ChannelBook, task: str | None, spec: JobSpec,
        inputs: Mapping[str, bytes], reserve: int,
    ) -> DirectRun:  # fmt: skip
        order = self._order(key, book, task or secrets.token_hex(16), spec, inputs, reserve)
        message = order_to_wire(order).SerializeToString()
        book = replace(book, pending=PendingOrder(message, time.time(), self._node.terms.spec.rates))
        self._file.save(book)
        return (await self._execute(stub, key, book, order))[1]

    async def recover(self) -> DirectRun | None:
        """Fetch, check and pay for the order that was left behind, if there is one; raises as `run`."""
        with FileLock(private_directory(self._root) / "lock"):
            book = self._file.load()
            if book is None or book.pending is None:
                return None
            key = await asyncio.to_thread(self._session_key)
            async with compute_stub(self._node.entry) as stub:
                return (await self._execute(stub, key, book, _pending_order(book)))[1]

    async def close(self) -> None:
        """Announce on chain that the channel is closed; what the deposit holds beyond the vouchers comes back later.

        Raises:
            NotFound: there is no channel.
        """
        book = self._file.load()
        if book is None:
            raise NotFound(f"there is no channel to {self._node.entry.key}")
        await self._ledger.start_close(self._payer, book.channel)

    def _session_key(self) -> PrivateKey:
        from farlane.ledger.keystore import KeyRing
        from farlane.ledger.passwords import machine_password

        ring = KeyRing(private_directory(self._root / "keys"))
        password = machine_password(ring.directory)
        try:
            return ring.open(_KEY_NAME, password)
        except NotFound:
            return ring.create(_KEY_NAME, password)

    async def _channel(self, key: PrivateKey) -> ChannelBook:
        book = self._file.load()
        if book is None:
            provider = self._node.entry.key
            channel = Channel(self._payer.address, provider, key.address, secrets.token_bytes(32))
            book = ChannelBook(channel)
            self._file.save(book)  # before the chain knows it, so that a crash finds it again
        if book.dispute:
            raise Conflict(
                f"the channel to {book.channel.provider} is in dispute and used no more: {book.dispute}. Close it by "
                "`farlane direct close`, keep its directory as evidence, and call another node"
            )
        return book

    async def _funded(self, book: ChannelBook, reserve_nano: int, deposit_units: int) -> ChannelBook:
        state = await self._ledger.channel(book.channel.id)
        if state.close_at:
            raise Conflict(
                f"this channel is being closed: move {self._file.path} away to open another",
                path=str(self._file.path),
            )
        needed = _units_ceiling(book.owed_nano + reserve_nano, self._ledger.units_per_credit) - state.deposit
        if needed > 0:
            amount = max(needed, deposit_units)
            await self._cover(amount)
            move = self._ledger.top_up if state.exists else self._ledger.open_channel
            await move(self._payer, book.channel, amount)
        if not book.opened:
            book = replace(book, opened=True)
            self._file.save(book)
        return book

    async def _cover(self, amount: int) -> None:
        """Deposit what the balance lacks."""
        missing = amount - await self._ledger.balance(self._payer.address)
        if missing <= 0:
            return
        there = await self._ledger.token_balance(self._payer.address)
        if there < missing:
            raise InsufficientFunds(
                f"the channel needs {amount} units; {self._payer.address} lacks {missing - there} of them",
                missing_units=missing - there,
            )
        await self._ledger.deposit(self._payer, missing)

    def _order(
        self,
        key: PrivateKey,
        book: ChannelBook,
        task: str,
        spec: JobSpec,
        inputs: Mapping[str, bytes],
        limit: int,
    ) -> TaskOrder:
        channel = book.channel
        wanted = Order(channel.id, task_digest(task), spec_digest(spec), book.size, limit)
        fields = ChannelFields(channel.payer, channel.provider, channel.signer, channel.salt)
        signature = sign_order(self._ledger.domain, key, wanted)
        voucher = None if book.voucher is None else _fields(book.voucher)
        return TaskOrder(fields, task, spec, dict(inputs), book.size, limit, signature, voucher)

    async def _execute(
        self, stub: ComputeAsyncStub, key: PrivateKey, book: ChannelBook, order: TaskOrder
    ) -> tuple[ChannelBook, DirectRun]:
        call = stub.ExecuteTask(timeout=order.spec.timeout_ms / 1000 + SPARE_S)
        try:
            await call.write(compute_pb2.TaskRequest(order=order_to_wire(order)))
            result = await self._result(call)
            after, found = self._accept(key, book, order, result)
            await call.write(compute_pb2.TaskRequest(voucher=voucher_to_wire(_fields(after.voucher))))
            await call.done_writing()
            await call.read()
        except grpc.aio.AioRpcError as error:
            failure = await final_error(call, error, "calling the node")
            self._forget_refused(book, failure)
            raise failure from error
        finally:
            call.cancel()
        return after, found

    async def _result(self, call: Call) -> TaskResult:
        while isinstance(reply := await call.read(), compute_pb2.TaskReply):
            if reply.WhichOneof("kind") == "result":
                return result_from_wire(reply.result)
        raise ConnectionLost("the node ended the call without a result: call again, which fetches it")

    def _accept(
        self, key: PrivateKey, book: ChannelBook, order: TaskOrder, result: TaskResult
    ) -> tuple[ChannelBook, DirectRun]:
        """Check a result, sign for it, and keep that before the node hears of it."""
        domain, channel, now = self._ledger.domain, book.channel, time.time()
        mine, pending = book.open(), book.pending
        assert pending is not None  # saved before the order went out
        seen = Observed(int((now - pending.began) * 1000), int(now * 1000))
        try:
            leaf, head = check_result(domain, channel, order, pending.rates, result, mine, seen)
        except InvalidSignature as error:
            self._file.save(replace(book, dispute=error.message))
            raise
        promise = mine.promise(channel.id, head.head.size, head.head.root, self._ledger.units_per_credit)
        assert promise is not None  # the leaf is new
        voucher = sign_voucher(domain, key, promise)
        after = book.after(mine, voucher)
        self._file.save(after)
        receipt = receipt_of(domain, channel, leaf, result, head, voucher)
        return after, DirectRun(result.outputs, result.stdout, result.stderr, result.failure, leaf, receipt)

    def _forget_refused(self, book: ChannelBook, failure: FarlaneError) -> None:
        """Forget an order that the node has refused; one that may still run, or has run, is kept."""
        now = self._file.load()
        refused = (InvalidInput, Exhausted, Conflict, NotFound, PermissionRefused)
        if now is not None and now.pending == book.pending and isinstance(failure, refused):
            self._file.save(replace(now, pending=None))


def _pending_order(book: ChannelBook) -> TaskOrder:
    assert book.pending is not None  # asked only where there is one
    return order_from_wire(compute_pb2.TaskOrder.FromString(book.pending.message))


def _fields(signed: SignedVoucher | None) -> VoucherFields:
    assert signed is not None  # only asked for what was just signed or is there
    voucher = signed.voucher
    return VoucherFields(voucher.cumulative, voucher.tasks, voucher.root, signed.signature)


def _units_ceiling(nano: int, units_per_credit: int) -> int:
    return -(-nano * units_per_credit // NANO_PER_CREDIT)
