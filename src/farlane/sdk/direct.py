"""Direct calls: have a node that was found on chain do tasks, check what it did, pay for it; no hub takes part."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from farlane.errors import (
    Conflict,
    ConnectionLost,
    DeadlineExceeded,
    Exhausted,
    FarlaneError,
    InsufficientFunds,
    InvalidInput,
    InvalidSignature,
    NotFound,
    PermissionRefused,
    Unavailable,
)
from farlane.kit.file_lock import FileLock
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.direct_leaf import input_digest, reserve_ceiling, tariff_for
from farlane.ledger.leaf import spec_digest
from farlane.ledger.orders import Order, sign_order, task_digest
from farlane.ledger.port import Ledger
from farlane.ledger.vouchers import SignedVoucher, sign_voucher
from farlane.sdk.direct_book import ChannelBook, PendingOrder
from farlane.sdk.direct_channel import POLL_S, DirectChannel, Spending
from farlane.sdk.direct_check import Observed, check_result, receipt_of
from farlane.sdk.direct_nodes import FoundNode, compute_stub
from farlane.sdk.direct_task import DirectRun, DirectTask
from farlane.wire.compute import (
    STREAMS,
    ChannelFields,
    TaskOrder,
    TaskResult,
    VoucherFields,
    order_from_wire,
    order_to_wire,
    result_from_wire,
    voucher_to_wire,
)
from farlane.wire.status import final_error, remember_end
from farlane.wire.v1 import compute_pb2

if TYPE_CHECKING:
    from farlane.wire.v1.compute_pb2_grpc import ComputeAsyncStub

    Call = grpc.aio.StreamStreamCall[compute_pb2.TaskRequest, compute_pb2.TaskReply]

log = logging.getLogger(__name__)
SPARE_S = 60.0
"""How much longer than the task itself a call may take."""
TURN_S = 20.0
"""How long a result waits for the results whose leaves come before its own."""
_REFUSALS = (InvalidInput, Exhausted, Conflict, NotFound, PermissionRefused)

OnOutput = Callable[[str, bytes], None]
"""Hears what a task prints as it comes: `stdout` or `stderr`, and the bytes."""


def _silent(stream: str, data: bytes) -> None:
    """Hear nothing."""


class DirectPublisher:
    """Pays one node for tasks over one channel. Tasks and processes may share a directory and have tasks run at once.

    Args:
        directory: where the session key and the channel's book are kept; losing it loses the channel's checks, not
            its deposit.
        ledger: the chain.
        payer: who opens and funds the channel.
        node: whom to call.
    """

    def __init__(self, directory: Path, ledger: Ledger, payer: PrivateKey, node: FoundNode) -> None:
        self._ledger, self._node = ledger, node
        self._channel = DirectChannel(directory, ledger, payer, node.entry.key, node.provider)

    def quote_ceiling(self, task: DirectTask) -> int:
        """Return the most a task may cost on this node, in nano-credits.

        Raises:
            InvalidInput: it asks for GPUs that the node has not.
        """
        said = self._node.terms.spec
        return reserve_ceiling(tariff_for(task.spec, said.rates, said.capacity), task.spec, len(task.payload))

    async def spending(self, task: DirectTask, deposit_units: int = 0) -> Spending:
        """Return what `run` would do with the payer's money; nothing is sent or signed."""
        return await self._channel.spending(self.quote_ceiling(task), deposit_units)

    async def run(
        self,
        task: DirectTask,
        *,
        order_id: str | None = None,
        max_nano: int | None = None,
        deposit_units: int = 0,
        on_output: OnOutput | None = None,
        on_recovered: Callable[[DirectRun], None] | None = None,
    ) -> DirectRun:
        """Have one task run and pay for it.

        Orders that a crash or a broken connection left behind are finished first, as by `recover`.

        Args:
            task: what to run; see `farlane.sdk.direct_task`.
            order_id: an id of the publisher's own: where an order with it was left behind, that is finished and
                nothing else is ordered.
            max_nano: the most it may cost, in nano-credits.
            deposit_units: what to put into the channel where it is new or too small; at least what the task needs.
            on_output: hears what the task prints while it runs.
            on_recovered: hears what came of orders that had been left behind.

        Raises:
            InsufficientFunds: it may cost more than `max_nano`, or balance, deposit or the node's credit do not cover
                it.
            InvalidSignature: the node cheated; nothing was signed for it and the channel is used no more.
            PermissionRefused: the node does not work for this payer.
            ConnectionLost: the node went away; nothing was signed, and the next run or `recover` asks for the result.
            FarlaneError: see `farlane.errors`.
        """
        reserve = self.quote_ceiling(task)
        if max_nano is not None and reserve > max_nano:
            raise InsufficientFunds(
                f"the task may cost {reserve} nano-credits on this node; {max_nano} are allowed: allow more, or ask "
                "for less time or fewer cores"
            )
        key = await self._channel.open_key()
        async with compute_stub(self._node.entry) as stub:
            for pending, found in await self._recover(stub, key):
                if order_id is not None and pending.task == order_id:
                    return found
                if on_recovered is not None:
                    on_recovered(found)
            while (order := await self._reserve(key, task, order_id, reserve, deposit_units)) is None:
                await asyncio.sleep(POLL_S)
                await self._recover(stub, key)  # what is on its way may belong to a process that is gone
            pending, slot = order
            try:
                return await self._drive(stub, key, pending, on_output or _silent)
            finally:
                slot.release()

    async def recover(self) -> list[DirectRun]:
        """Fetch, check and pay for orders that were left behind, and that nobody is busy with; raises as `run`."""
        if self._channel.file.load() is None:
            return []
        key = await self._channel.open_key()
        async with compute_stub(self._node.entry) as stub:
            return [found for _, found in await self._recover(stub, key)]

    async def close(self) -> None:
        """Announce on chain that the channel is closed; what the deposit holds beyond the vouchers comes back later.

        Raises:
            NotFound: there is no channel.
        """
        await self._channel.close()

    async def _recover(self, stub: ComputeAsyncStub, key: PrivateKey) -> list[tuple[PendingOrder, DirectRun]]:
        found = []
        book = self._channel.file.load()
        for one in () if book is None else book.pending:
            slot = self._channel.slot(one.place)
            if slot is None:
                continue  # somebody is busy with it
            try:
                async with self._channel.locked():
                    pending = self._channel.load(key).waiting(one.place)
                if pending is not None and pending.task == one.task:
                    found.append((pending, await self._drive(stub, key, pending, _silent)))
            except (*_REFUSALS, Unavailable) as error:
                if isinstance(error, InvalidSignature) or self._is_pending(one):
                    raise
                log.warning(
                    "an order that was left behind is forgotten: the node refuses it: %s", error.message
                )
            finally:
                slot.release()
        return found

    def _is_pending(self, order: PendingOrder) -> bool:
        book = self._channel.file.load()
        return book is not None and book.waiting(order.place) == order

    async def _reserve(
        self, key: PrivateKey, task: DirectTask, order_id: str | None, reserve: int, deposit_units: int
    ) -> tuple[PendingOrder, FileLock] | None:
        """Write an order down before it goes out; None while the node would not take one more."""
        async with self._channel.locked():
            book = self._channel.load(key)
            if len(book.pending) >= self._node.terms.tasks:
                return None
            slot = self._channel.slot(book.free_place())
            if slot is None:
                return None
            try:
                book = await self._channel.funded(book, reserve, deposit_units)
                pending = self._pending(key, book, task, order_id or secrets.token_hex(16), reserve)
                self._channel.file.save(book.ordered(pending))
            except BaseException:
                slot.release()
                raise
            return pending, slot

    def _pending(
        self, key: PrivateKey, book: ChannelBook, task: DirectTask, order_id: str, limit: int
    ) -> PendingOrder:
        order = self._order(key, book, order_id, task, limit)
        said = self._node.terms.spec
        tariff = tariff_for(task.spec, said.rates, said.capacity)
        message = order_to_wire(order).SerializeToString()
        return PendingOrder(order.place, order_id, message, limit, time.time(), tariff)

    def _order(
        self, key: PrivateKey, book: ChannelBook, order_id: str, task: DirectTask, limit: int
    ) -> TaskOrder:
        channel, place, spec = book.channel, book.free_place(), task.spec
        given = input_digest(spec, task.payload)
        wanted = Order(channel.id, task_digest(order_id), spec_digest(spec), given, place, limit)
        fields = ChannelFields(channel.payer, channel.provider, channel.signer, channel.salt)
        signature = sign_order(self._ledger.domain, key, wanted)
        return TaskOrder(
            fields,
            order_id,
            spec,
            dict(task.inputs),
            place,
            limit,
            signature,
            None,
            task.function,
            task.payload,
        )

    async def _drive(
        self, stub: ComputeAsyncStub, key: PrivateKey, pending: PendingOrder, on_output: OnOutput
    ) -> DirectRun:
        """Send an order, take its result, and pay for it."""
        order = self._with_voucher(order_from_wire(compute_pb2.TaskOrder.FromString(pending.message)))
        call = stub.ExecuteTask(timeout=order.spec.timeout_ms / 1000 + SPARE_S)
        remember_end(call)
        try:
            await call.write(compute_pb2.TaskRequest(order=order_to_wire(order)))
            result = await self._result(call, on_output)
        except grpc.aio.AioRpcError as error:
            raise await self._refusal(pending, call, error) from error
        else:
            found, voucher = await self._accept(stub, key, pending, order, result)
            await _hand_over(call, voucher)
            return found
        finally:
            call.cancel()

    def _with_voucher(self, order: TaskOrder) -> TaskOrder:
        """Return an order with the newest voucher, so that one that was lost on its way comes after all."""
        book = self._channel.file.load()
        newest = None if book is None or book.voucher is None else _fields(book.voucher)
        return replace(order, voucher=newest)

    async def _result(self, call: Call, on_output: OnOutput) -> TaskResult:
        heard = dict.fromkeys(STREAMS, 0)
        while isinstance(reply := await call.read(), compute_pb2.TaskReply):
            kind = reply.WhichOneof("kind")
            if kind == "output" and reply.output.stream in heard:
                heard[reply.output.stream] += len(reply.output.data)
                on_output(reply.output.stream, reply.output.data)
            elif kind == "result":
                result = result_from_wire(reply.result)
                # A repeat brings what was printed all at once.
                for name, printed in zip(STREAMS, (result.stdout, result.stderr), strict=True):
                    if rest := printed[heard[name] :]:
                        on_output(name, rest)
                return result
        code = await call.code()
        if code is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                code, grpc.aio.Metadata(), await call.trailing_metadata(), await call.details()
            )
        raise ConnectionLost("the node ended the call without a result: call again, which fetches it")

    async def _accept(
        self, stub: ComputeAsyncStub, key: PrivateKey, pending: PendingOrder, order: TaskOrder, result: TaskResult
    ) -> tuple[DirectRun, SignedVoucher]:  # fmt: skip
        """Wait until all leaves before a result's are here, then check it, sign for it, and keep that."""
        loop = asyncio.get_running_loop()
        end = loop.time() + TURN_S
        while True:
            async with self._channel.locked():
                book = self._channel.load(key)
                if result.size <= book.size + 1 or len(book.pending) == 1:
                    return self._sign(key, book, pending, order, result)
            if loop.time() > end:
                raise Unavailable(
                    f"the result is the channel's {result.size}th and only {book.size} are here: others are still on "
                    "their way. Nothing was signed for it; call again, which fetches it"
                )
            await asyncio.sleep(POLL_S)
            # One before it may belong to a process that is gone.
            with contextlib.suppress(TimeoutError, FarlaneError):
                async with asyncio.timeout(max(0.0, end - loop.time())):
                    await self._recover(stub, key)

    def _sign(
        self, key: PrivateKey, book: ChannelBook, pending: PendingOrder, order: TaskOrder, result: TaskResult
    ) -> tuple[DirectRun, SignedVoucher]:
        """Check a result and sign for it; both are kept before the node hears of it."""
        domain, channel, now = self._ledger.domain, book.channel, time.time()
        mine, account = book.open(), self._node.terms.account
        seen = Observed(int((now - pending.began) * 1000), int(now * 1000))
        try:
            leaf, head = check_result(domain, channel, order, pending.tariff, result, mine, account, seen)
        except InvalidSignature as error:
            self._channel.file.save(replace(book, dispute=error.message))
            raise
        promise = mine.promise(channel.id, head.head.size, head.head.root, self._ledger.units_per_credit)
        assert promise is not None  # the leaf is new
        voucher = sign_voucher(domain, key, promise)
        self._channel.file.save(book.after(pending.place, mine, voucher))
        receipt = receipt_of(domain, channel, leaf, result, head, account, voucher)
        found = DirectRun(
            result.outputs, result.stdout, result.stderr, result.value, result.failure, leaf, receipt
        )
        return found, voucher

    async def _refusal(self, pending: PendingOrder, call: Call, error: grpc.aio.AioRpcError) -> FarlaneError:
        """Return what a call has failed with; an order that was refused is forgotten, one that may run is kept."""
        failure = await final_error(call, error, "calling the node")
        said = "grpc_code" not in failure.facts  # by the node itself, and no result came: it does not do it
        if isinstance(failure, _REFUSALS) or (said and isinstance(failure, Unavailable)):
            async with self._channel.locked():
                now = self._channel.file.load()
                if now is not None:
                    self._channel.file.save(now.without(pending.place))
            return failure
        if not isinstance(failure, (Unavailable, DeadlineExceeded)):
            return failure
        return ConnectionLost(
            f"the node went away before its result was here ({failure.message}). Blame: provider. Nothing was signed, "
            "so nothing is owed; the order is kept, and the next call, or `farlane direct recover`, asks for it again",
            blame="provider",
            place=pending.place,
        )


async def _hand_over(call: Call, voucher: SignedVoucher) -> None:
    """Send a voucher; where the node is gone, it comes with the next order."""
    try:
        await call.write(compute_pb2.TaskRequest(voucher=voucher_to_wire(_fields(voucher))))
        await call.done_writing()
        while isinstance(reply := await call.read(), compute_pb2.TaskReply):
            if reply.WhichOneof("kind") == "paid":
                return
    except grpc.aio.AioRpcError as error:
        log.warning(
            "the node has not taken the voucher yet; it comes with the next order: %s", error.details()
        )


def _fields(signed: SignedVoucher) -> VoucherFields:
    voucher = signed.voucher
    return VoucherFields(voucher.cumulative, voucher.tasks, voucher.root, signed.signature)
