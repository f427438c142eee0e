"""The carrier: takes a plan to the chain, where nothing waits for what another payer or another channel cannot do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from farlane.errors import FarlaneError, Reverted, RpcRefused, Unavailable
from farlane.hub.settlement.chain import ChainDesk
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.plan import BookFigures, Funding, Plan
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger.claiming import Claiming
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import ChannelState, SignedClaim, TransactionReceipt
from farlane.ledger.settlement import Settler, plan_settlements
from farlane.ledger.vouchers import Channel

log = logging.getLogger(__name__)
RETRY_REFUSED_S = 300.0
"""What the contract has refused is tried again after so long, or when somebody asks for it."""
KEPT_TRANSACTIONS = 100
Errand = asyncio.Task[list[TransactionReceipt]]


class Carrier:
    """Carries plans out, while the chain is open. What takes longer than its round goes on beside the next ones.

    Args:
        desk: the way to the contracts.
        keys: the hub's.
        tasks: owns what is under way.
        patience_s: how long a round waits for what it has begun.
    """

    def __init__(self, desk: ChainDesk, keys: HubKeys, tasks: TaskSupervisor, patience_s: float) -> None:
        self._desk, self._keys, self._tasks, self._patience_s = desk, keys, tasks, patience_s
        self._settler = Settler(desk.outbox, desk.deployment.ledger, keys.operator())
        self._going: dict[str, Errand] = {}
        self._again: dict[str, float] = {}
        self._claiming: set[bytes] = set()
        self._refused: dict[bytes, tuple[int, ChannelState, float]] = {}
        self._troubles: dict[str, str] = {}
        self._wanted: set[str] = set()
        self.transactions: list[TransactionReceipt] = []
        """The newest that were confirmed."""

    @property
    def trouble(self) -> str:
        """What the chain refuses at present, empty where that is nothing."""
        return next(iter(self._troubles.values()), "")

    @property
    def refused_vouchers(self) -> int:
        """Of how many channels the newest claim was refused."""
        return len(self._refused)

    def insist(self) -> None:
        """Try at once what was refused a moment ago: somebody asks for it."""
        self._again.clear()

    def refused(self, books: Iterable[BookFigures]) -> set[bytes]:
        """Return the channels whose voucher was refused, and nothing about it has changed since."""
        return {one.channel.id for one in books if self._is_refused(one)}

    async def carry(self, todo: Plan, books: Sequence[BookFigures]) -> list[TransactionReceipt]:
        """Begin everything in a plan; returns what is confirmed when it has ended or patience has.

        Args:
            todo: what to do.
            books: what it was decided from.
        """
        begun = await self._begin_claims(todo.claims, books)
        for funding in todo.fundings:
            begun += self.begin(_fund_name(funding.channel), partial(self._fund, funding))
        for channel in todo.starts:
            begun += self.begin(_close_name(channel), partial(self._start_close, channel))
        for channel in todo.finishes:
            begun += self.begin(_close_name(channel), partial(self._finish_close, channel))
        self._troubles = {name: why for name, why in self._troubles.items() if name in self._wanted}
        self._wanted.clear()
        return await self.wait(begun)

    async def claim(self, due: Sequence[Claiming], books: Sequence[BookFigures]) -> list[TransactionReceipt]:
        """Begin claims alone, as `carry` does."""
        return await self.wait(await self._begin_claims(due, books))

    def begin(self, name: str, work: Callable[[], Awaitable[list[TransactionReceipt]]]) -> list[Errand]:
        """Begin something under its name, unless it is under way, or was refused a moment ago."""
        loop = asyncio.get_running_loop()
        self._wanted.add(name)
        if name in self._going or loop.time() < self._again.get(name, 0.0):
            return []
        task = self._tasks.start(self._run(name, work), name, optional=True)
        self._going[name] = task
        task.add_done_callback(lambda _: self._going.pop(name, None))
        return [task]

    async def wait(self, begun: Sequence[Errand]) -> list[TransactionReceipt]:
        """Return what was confirmed, once all has ended or patience has; the rest goes on."""
        if not begun:
            return []
        await asyncio.wait(begun, timeout=self._patience_s)
        found: dict[bytes, TransactionReceipt] = {}
        for task in begun:
            if task.done() and not task.cancelled() and task.exception() is None:
                found |= {receipt.hash: receipt for receipt in task.result()}
        return list(found.values())

    async def _run(
        self, name: str, work: Callable[[], Awaitable[list[TransactionReceipt]]]
    ) -> list[TransactionReceipt]:
        try:
            done = await work()
        except Unavailable as error:  # the next round, or the next start, goes on with it
            log.info("cannot %s now: %s", name, error.message)
            return []
        except FarlaneError as error:
            log.error("could not %s: %s", name, error.message)
            self._troubles[name] = f"could not {name}: {error.message}"
            if isinstance(error, Reverted | RpcRefused):
                self._again[name] = asyncio.get_running_loop().time() + RETRY_REFUSED_S
            return []
        self._troubles.pop(name, None)
        self.transactions = [*self.transactions, *done][-KEPT_TRANSACTIONS:]
        return done

    # Channels.

    async def _fund(self, funding: Funding) -> list[TransactionReceipt]:
        channel = funding.channel
        terms = channel.provider, channel.signer, channel.salt, funding.amount
        if not funding.deposit:
            return [await self._desk.take_up(f"open/{channel.id.hex()}", channel.payer, "open", *terms)]
        key = f"top-up/{channel.id.hex()}/{funding.deposit}"
        return [await self._desk.take_up(key, channel.payer, "topUp", *terms)]

    async def _start_close(self, channel: Channel) -> list[TransactionReceipt]:
        key, terms = f"start-close/{channel.id.hex()}", (channel.provider, channel.signer, channel.salt)
        return [await self._desk.take_up(key, channel.payer, "startClose", *terms)]

    async def _finish_close(self, channel: Channel) -> list[TransactionReceipt]:
        terms = channel.payer, channel.provider, channel.signer, channel.salt
        # Anybody may: the hub's own account has coin where the payer's may have run out.
        operator = self._keys.operator()
        return [await self._desk.take_up(f"finish-close/{channel.id.hex()}", operator, "finishClose", *terms)]

    # Claims.

    async def _begin_claims(self, due: Sequence[Claiming], books: Sequence[BookFigures]) -> list[Errand]:
        """Begin to settle vouchers in batches that fit; one the contract refuses holds up no other."""
        states = {one.channel.id: one.state for one in books}
        urgent = min((each.deadline for each in due if each.deadline), default=0.0)
        if urgent:
            await self._settler.hurry(self._policy(urgent))
        fresh = [each for each in due if each.claim.channel.id not in self._claiming]
        begun: list[Errand] = []
        for hurried in (True, False):
            group = [each for each in fresh if bool(each.deadline) == hurried]
            policy = self._policy(group[0].deadline if group else 0.0)
            for batch in plan_settlements((each.claim for each in group), states):
                name = f"settle {len(batch)} vouchers, of channel 0x{batch[0].channel.id.hex()} first"
                settling = self.begin(name, partial(self._settle, batch, policy, states))
                if settling:
                    self._claiming |= {claim.channel.id for claim in batch}
                begun += settling
        return begun

    async def _settle(
        self, batch: Sequence[SignedClaim], policy: GasPolicy, states: dict[bytes, ChannelState]
    ) -> list[TransactionReceipt]:
        try:
            report = await self._settler.settle(batch, policy)
        finally:
            self._claiming -= {claim.channel.id for claim in batch}
        now = asyncio.get_running_loop().time()
        for claim, error in report.refused:
            channel = claim.channel.id
            log.error("the voucher of channel 0x%s is refused: %s", channel.hex(), error.message)
            self._refused[channel] = (claim.signed.voucher.cumulative, states[channel], now)
        for claim, _ in report.paid:
            self._refused.pop(claim.channel.id, None)
        done = {receipt.hash: receipt for _, receipt in report.paid}
        for receipt in done.values():
            log.info("settled in 0x%s, %d gas", receipt.hash.hex(), receipt.gas_used)
        return list(done.values())

    def _is_refused(self, one: BookFigures) -> bool:
        cumulative, state, at = self._refused.get(one.channel.id, (0, None, 0.0))
        tried = one.voucher if one.promised <= one.state.deposit else one.covered
        if tried is None or (tried.voucher.cumulative, one.state) != (cumulative, state):
            return False
        # A channel that is being closed will not wait for a change.
        return not (one.state.close_at and asyncio.get_running_loop().time() - at >= RETRY_REFUSED_S)

    def _policy(self, deadline: float) -> GasPolicy:
        policy = self._desk.policy
        return replace(policy, deadline=deadline) if deadline else self._desk.ordinary


def _fund_name(channel: Channel) -> str:
    return f"lock credits of {channel.payer} in channel 0x{channel.id.hex()}"


def _close_name(channel: Channel) -> str:
    return f"close channel 0x{channel.id.hex()}"
