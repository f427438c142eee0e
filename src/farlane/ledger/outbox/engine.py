"""The outbox's engine: one pass looks where every transaction is, and does what each intent needs next."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farlane.errors import FarlaneError, InsufficientFunds, Reverted, RpcRefused, Unavailable
from farlane.kit.clock import Clock
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.fees import Fees
from farlane.ledger.outbox.chain import ChainReader, Head, Sighting
from farlane.ledger.outbox.intents import Attempt, Intent, IntentKey, IntentState, Refusal
from farlane.ledger.outbox.journal import Journal
from farlane.ledger.outbox.preparing import Wait, dearer, prepare, too_poor
from farlane.ledger.rpc import RefusalReason, hexed
from farlane.ledger.transactions import Transaction, sign_transaction

log = logging.getLogger(__name__)

_NO_KEY = Wait(Unavailable("there is no key of its account: open the outbox with it"))

Disk = Callable[..., Awaitable[Any]]
"""Runs a method of the journal in the thread that owns it."""


KeySource = Callable[[Address], PrivateKey | None]
"""Finds the key of an account; None where there is none."""


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """How the outbox sends."""

    confirmations: int = 0
    """Blocks on top of a transaction before it counts; 0 only where a chain never reorganises itself."""
    poll_s: float = 2.0
    """Seconds between two looks at the chain while something is open."""
    bump_after_s: float = 45.0
    """A transaction that is next in line and not mined for this long is offered again at a higher fee."""
    max_in_flight: int = 16
    """Transactions of one account on their way at once. Source: go-ethereum, txpool accountslots."""
    gas_margin_percent: int = 20
    """An estimate is of the present state; by its block a transaction may touch a slot or two more."""
    backoff_cap_s: float = 60.0
    """Longest pause between two tries to reach the chain."""


class Engine:
    """Drives the intents of one journal over one chain; it holds no state that a crash could lose.

    Args:
        chain: where to.
        chain_id: its id.
        keys: of the accounts it may sign for, or what finds an account's key.
        journal: what is written down.
        disk: runs the journal's methods.
        clock: unix seconds.
        settings: how.
    """

    def __init__(
        self, chain: ChainReader, chain_id: int, keys: Sequence[PrivateKey] | KeySource, journal: Journal, disk: Disk,
        clock: Clock, settings: OutboxSettings,
    ) -> None:  # fmt: skip
        self._chain, self._chain_id, self._journal, self._disk = chain, chain_id, journal, disk
        self._key_of = keys if callable(keys) else {key.address: key for key in keys}.get
        self._clock, self._settings = clock, settings
        self.waiting: Mapping[IntentKey, Wait] = {}
        self._waiting: dict[IntentKey, Wait] = {}

    async def step(self) -> int:
        """Do one pass; returns how many intents are still open.

        Raises:
            ChainUnavailable: the chain cannot be used; whatever was done up to there is done.
        """
        intents: list[Intent] = await self._disk(self._journal.open_intents)
        if not intents:
            self.waiting = {}
            return 0
        self._waiting = {}
        try:
            head = await self._chain.head()
            known = await self._look([intent for intent in intents if intent.attempts], head)
            by_account: defaultdict[Address, list[Intent]] = defaultdict(list)
            for intent in intents:
                by_account[intent.call.sender].append(intent)
            for account, own in by_account.items():
                await self._advance(account, own, head, known)
        finally:
            self.waiting = self._waiting
        return int(await self._disk(self._journal.count_open))

    # Where transactions are.

    async def _look(self, intents: list[Intent], head: Head) -> dict[int, Sighting]:
        sightings = dict(
            zip(
                (each.number for each in intents),
                await self._chain.sightings(intents) if intents else [],
                strict=True,
            )
        )
        for intent in intents:
            seen = sightings[intent.number]
            if seen.mined is not None:
                await self._note_block(intent, seen, head)
            elif intent.state == IntentState.MINED:
                log.warning("a reorganisation took %s out of its block; it is sent again", intent.key)
                await self._disk(self._journal.sent, intent.number)
        return sightings

    async def _note_block(self, intent: Intent, seen: Sighting, head: Head) -> None:
        assert seen.mined is not None
        if intent.state != IntentState.MINED or intent.block_hash != seen.block_hash:
            await self._disk(self._journal.mined, intent.number, seen.mined, seen.block_hash)
        if head.number < seen.mined.block + self._settings.confirmations:
            return
        if seen.succeeded:
            await self._disk(self._journal.confirmed, intent.number, self._clock.now())
            return
        await self._refuse(intent, await self._chain.why_failed(intent.call, seen.mined))

    # What comes next.

    async def _advance(
        self, account: Address, own: list[Intent], head: Head, known: Mapping[int, Sighting]
    ) -> None:
        count = await self._chain.count(account)
        taken: set[int] = set()
        earlier = 0
        for intent in own:
            seen = known.get(intent.number)
            if seen is not None and seen.mined is not None:
                deep = head.number >= seen.mined.block + self._settings.confirmations
                earlier += not deep
                taken |= set() if intent.nonce is None else {intent.nonce}
                continue
            if intent.nonce is not None:
                taken.add(intent.nonce)
                earlier += 1
                await self._push(intent, count, head, seen)
        for intent in own:
            seen = known.get(intent.number)
            if intent.nonce is not None or (seen is not None and seen.mined is not None):
                continue
            if earlier >= self._settings.max_in_flight:
                return
            nonce = next(free for free in range(count, count + len(taken) + 1) if free not in taken)
            going = await self._plan(intent, nonce, head, earlier > 0)
            if going is None:
                return  # first in, first out: nothing of an account overtakes what waits
            if going:
                taken.add(nonce)
                earlier += 1

    async def _push(self, intent: Intent, count: int, head: Head, seen: Sighting | None) -> None:
        """Bring a signed transaction into the chain's pool, and keep it worth mining."""
        assert intent.nonce is not None
        if intent.nonce < count:
            await self._look_who_was_first(intent, head)
            return
        age_s = self._clock.now() - intent.newest.signed_at
        if intent.nonce == count and age_s >= self._settings.bump_after_s:
            fees = await dearer(self._chain, intent.newest, intent.call.policy, head)
            if isinstance(fees, Fees):
                await self._sign(intent, intent.nonce, fees, intent.gas, intent.first_block)
                return
            self._wait(intent, fees)
        if intent.state == IntentState.SIGNED or seen is None or not seen.known:
            await self._send(intent, intent.newest)

    async def _look_who_was_first(self, intent: Intent, head: Head) -> None:
        """Find out which transaction used our nonce: only proof of a foreign one lets us take a new one."""
        assert intent.nonce is not None
        account, first = intent.call.sender, max(0, intent.first_block)
        try:
            user = await self._chain.who_used(account, intent.nonce, first, head.number)
        except RpcRefused as error:
            self._wait(
                intent,
                Wait(
                    Unavailable(
                        f"nonce {intent.nonce} of {account} is used, and the endpoint no longer knows by whom "
                        f"({error.message}): name one with older state"
                    )
                ),
            )
            return
        if user is None or any(user[1] == attempt.hash for attempt in intent.attempts):
            return  # its receipt comes with the next look
        block, foreign = user
        if head.number < block + self._settings.confirmations:
            text = f"0x{foreign.hex()} took its nonce; a new one is chosen once that is confirmed"
            self._wait(intent, Wait(Unavailable(text)))
            return
        log.warning(
            "nonce %d of %s was used by 0x%s, not by us: %s gets another", intent.nonce, account, foreign.hex(),
            intent.key,
        )  # fmt: skip
        await self._disk(self._journal.displaced, intent.number)

    async def _plan(self, intent: Intent, nonce: int, head: Head, has_earlier: bool) -> bool | None:
        """Sign and send a planned intent: True; False: it has ended; None: it must wait."""
        margin = self._settings.gas_margin_percent
        found = await prepare(self._chain, intent.call, head, has_earlier, margin)
        if isinstance(found, Refusal):
            await self._refuse(intent, found)
            return False
        if isinstance(found, Wait) or self._key_of(intent.call.sender) is None:
            self._wait(intent, found if isinstance(found, Wait) else _NO_KEY)
            return None
        await self._sign(intent, nonce, found.fees, found.gas, head.number)
        return True

    async def _sign(self, intent: Intent, nonce: int, fees: Fees, gas: int, first_block: int) -> None:
        call, key = intent.call, self._key_of(intent.call.sender)
        if key is None:
            self._wait(intent, _NO_KEY)
            return
        signed = sign_transaction(
            Transaction(
                self._chain_id, nonce, fees.max_tip, fees.max_fee, gas, call.to, call.value, call.data
            ),
            key,
        )
        attempt = Attempt(signed.hash, signed.raw, nonce, fees, self._clock.now())
        await self._disk(self._journal.sign, intent.number, attempt, gas, first_block)
        await self._send(intent, attempt)

    async def _send(self, intent: Intent, attempt: Attempt) -> None:
        try:
            await self._chain.rpc.call("eth_sendRawTransaction", hexed(attempt.raw))
        except InsufficientFunds as error:
            self._wait(intent, too_poor(intent.call.sender, error.message))
            return
        except FarlaneError as error:
            reason = error.facts.get("reason")
            if not isinstance(error, RpcRefused | Reverted):
                raise
            if reason == RefusalReason.NONCE_TOO_LOW:
                return  # ours was mined, or somebody else's: the next look tells
            if reason != RefusalReason.ALREADY_KNOWN:
                self._wait(intent, Wait(error))
                return
        await self._disk(self._journal.sent, intent.number)

    # Ends and waits.

    async def _refuse(self, intent: Intent, refusal: Refusal) -> None:
        log.warning("%s is refused: %s", intent.key, refusal.message)
        await self._disk(self._journal.refused, intent.number, refusal, self._clock.now())

    def _wait(self, intent: Intent, why: Wait) -> None:
        self._waiting[intent.key] = why
