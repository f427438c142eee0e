"""The ledger in memory: the contract's channels in plain Python, for tests and as the model it is compared with."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from farlane.errors import InvalidSignature, Reverted
from farlane.ledger import port
from farlane.ledger.accounts import NO_ADDRESS, Address, PrivateKey
from farlane.ledger.port import CLOSED, MAX_CLAIMS, ChannelState, LedgerEvent, SignedClaim, TransactionReceipt
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import MAX_UNITS, Channel, check_voucher

_NEVER = ChannelState(0, 0, 0)


class MemoryLedger:
    """The Ledger port without a chain: every call is a block of its own and takes effect at once.

    Args:
        domain: where signatures count.
        units_per_credit: units of the token that make one credit.
        close_window_s: how long a provider can settle after its payer closes.
        now: the time of the first block, unix seconds; `pass_time` moves it.
    """

    def __init__(
        self,
        domain: Domain,
        units_per_credit: int = 10**9,
        close_window_s: int = 86_400,
        now: int = 1_800_000_000,
    ) -> None:
        self._domain, self._upc, self._window = domain, units_per_credit, close_window_s
        self._now, self._block = now, 0
        self._tokens: defaultdict[Address, int] = defaultdict(int)
        self._balances: defaultdict[Address, int] = defaultdict(int)
        self._channels: dict[bytes, ChannelState] = {}
        self._events: list[LedgerEvent] = []
        self._settlements: Counter[Address] = Counter()
        self._trades = 0

    @property
    def domain(self) -> Domain:
        """Where signatures count."""
        return self._domain

    @property
    def units_per_credit(self) -> int:
        """Units of the token that make one credit."""
        return self._upc

    def pass_time(self, seconds: int) -> None:
        """Let time pass on the chain."""
        self._now += seconds

    async def mint(self, key: PrivateKey, to: Address, amount: int) -> TransactionReceipt:
        """Make tokens; anybody may, here."""
        self._tokens[to] += amount
        return self._receipt()

    async def now(self) -> float:
        """Return the time of the head."""
        return float(self._now)

    async def token_balance(self, account: Address) -> int:
        """Return what an account has outside of the contract."""
        return self._tokens[account]

    async def balance(self, account: Address) -> int:
        """Return an account's free balance in the contract."""
        return self._balances[account]

    async def channel(self, channel: bytes) -> ChannelState:
        """Return a channel by its id."""
        return self._channels.get(channel, _NEVER)

    async def transaction_count(self) -> int:
        """Return how many trades are on record."""
        return self._trades

    async def settlements(self, account: Address) -> int:
        """Return how often an account was paid for work."""
        return self._settlements[account]

    async def events(self, first_block: int = 0, last_block: int | None = None) -> list[LedgerEvent]:
        """Return the events of these blocks."""
        last = self._block if last_block is None else last_block
        return [event for event in self._events if first_block <= event.block <= last]

    async def deposit(self, key: PrivateKey, amount: int) -> TransactionReceipt:
        """Move tokens into the account's balance."""
        self._positive(amount)
        if self._tokens[key.address] < amount:
            raise reverted("ERC20InsufficientBalance", key.address, self._tokens[key.address], amount)
        if amount > MAX_UNITS:
            raise reverted("AmountTooLarge", amount)
        self._tokens[key.address] -= amount
        self._balances[key.address] += amount
        return self._record(port.Deposited, key.address, key.address, amount)

    async def withdraw(self, key: PrivateKey, to: Address, amount: int) -> TransactionReceipt:
        """Pay a part of a balance out."""
        if to == NO_ADDRESS:
            raise reverted("ZeroAddress")
        self._positive(amount)
        self._debit(key.address, amount)
        self._tokens[to] += amount
        return self._record(port.Withdrawn, key.address, to, amount)

    async def open_channel(self, key: PrivateKey, channel: Channel, amount: int) -> TransactionReceipt:
        """Open a channel of the payer `key`."""
        channel = replace(channel, payer=key.address)
        if NO_ADDRESS in (channel.provider, channel.signer):
            raise reverted("ZeroAddress")
        self._positive(amount)
        if self._channels.get(channel.id, _NEVER).exists:
            raise reverted("ChannelExists", channel.id)
        self._debit(key.address, amount)
        self._channels[channel.id] = ChannelState(amount, 0, 0)
        self._trades += 1
        return self._record(port.ChannelOpened, channel, amount)

    async def top_up(self, key: PrivateKey, channel: Channel, amount: int) -> TransactionReceipt:
        """Add to a channel's deposit."""
        self._positive(amount)
        known, state = self._of_payer(key, channel)
        if not state.deposit or state.close_at:
            raise reverted("ChannelNotOpen", known)
        self._debit(key.address, amount)
        self._channels[known] = replace(state, deposit=state.deposit + amount)
        return self._record(port.ChannelToppedUp, known, amount)

    async def settle(self, key: PrivateKey, claims: Sequence[SignedClaim]) -> TransactionReceipt:
        """Settle vouchers, all or none."""
        assert 0 < len(claims) <= MAX_CLAIMS
        # In the order in which a chain gets them: claims of one provider stand together.
        claims = sorted(claims, key=lambda claim: claim.channel.provider)
        before = dict(self._channels)
        try:
            paid = [self._settle(claim) for claim in claims]
        except Reverted:
            self._channels = before
            raise
        for claim, amount in zip(claims, paid, strict=True):
            self._balances[claim.channel.provider] += amount
            self._settlements[claim.channel.provider] += 1
        self._block += 1
        for claim, amount in zip(claims, paid, strict=True):
            voucher = claim.signed.voucher
            self._note(
                port.VoucherSettled, claim.channel.id, voucher.cumulative, amount, voucher.tasks, voucher.root
            )
        return TransactionReceipt(self._hash(), self._block, 0)

    async def start_close(self, key: PrivateKey, channel: Channel) -> TransactionReceipt:
        """Announce that the payer closes a channel."""
        known, state = self._of_payer(key, channel)
        if not state.claimable:
            raise reverted("ChannelNotOpen", known)
        if state.close_at:
            raise reverted("AlreadyClosing", known)
        close_at = self._now + self._window
        self._channels[known] = replace(state, close_at=close_at)
        return self._record(port.CloseStarted, known, close_at)

    async def finish_close(self, key: PrivateKey, channel: Channel) -> TransactionReceipt:
        """Close a channel whose window has passed."""
        state = self._channels.get(channel.id, _NEVER)
        if state.close_at in (0, CLOSED):
            raise reverted("ChannelNotClosing", channel.id)
        if self._now < state.close_at:
            raise reverted("CloseWindowOpen", state.close_at)
        return self._close(channel, state)

    async def close_by_provider(self, key: PrivateKey, channel: Channel) -> TransactionReceipt:
        """Close a channel of the provider `key` at once."""
        channel = replace(channel, provider=key.address)
        state = self._channels.get(channel.id, _NEVER)
        if not state.claimable:
            raise reverted("ChannelNotOpen", channel.id)
        return self._close(channel, state)

    def _settle(self, claim: SignedClaim) -> int:
        known, voucher = claim.channel.id, claim.signed.voucher
        state = self._channels.get(known, _NEVER)
        if not state.claimable:
            raise reverted("ChannelNotOpen", known)
        if voucher.cumulative <= state.claimed:
            raise reverted("NothingToClaim", state.claimed, voucher.cumulative)
        if voucher.cumulative > state.deposit:
            raise reverted("DepositExceeded", state.deposit, voucher.cumulative)
        try:
            signed = replace(claim.signed, voucher=replace(voucher, channel=known))
            check_voucher(self._domain, signed, claim.channel.signer)
        except InvalidSignature as error:
            raise reverted("InvalidSignature") from error
        self._channels[known] = replace(state, claimed=voucher.cumulative)
        return voucher.cumulative - state.claimed

    def _close(self, channel: Channel, state: ChannelState) -> TransactionReceipt:
        refund = state.deposit - state.claimed
        self._channels[channel.id] = replace(state, close_at=CLOSED)
        self._balances[channel.payer] += refund
        return self._record(port.ChannelClosed, channel.id, refund)

    def _of_payer(self, key: PrivateKey, channel: Channel) -> tuple[bytes, ChannelState]:
        known = replace(channel, payer=key.address).id
        return known, self._channels.get(known, _NEVER)

    def _positive(self, amount: int) -> None:
        if amount == 0:
            raise reverted("ZeroAmount")

    def _debit(self, account: Address, amount: int) -> None:
        if self._balances[account] < amount:
            raise reverted("InsufficientBalance", self._balances[account], amount)
        self._balances[account] -= amount

    def _record(self, kind: type[LedgerEvent], *values: object) -> TransactionReceipt:
        receipt = self._receipt()
        self._note(kind, *values)
        return receipt

    def _note(self, kind: type[LedgerEvent], *values: object) -> None:
        position = sum(event.block == self._block for event in self._events)
        self._events.append(kind(self._block, self._hash(), position, *values))

    def _receipt(self) -> TransactionReceipt:
        self._block += 1
        return TransactionReceipt(self._hash(), self._block, 0)

    def _hash(self) -> bytes:
        return hashlib.sha256(b"memory %d" % self._block).digest()


def reverted(error: str, *arguments: object) -> Reverted:
    """Return the refusal a chain would answer with."""
    values = [f"0x{value.hex()}" if isinstance(value, bytes) else str(value) for value in arguments]
    return Reverted(f"the contract refuses: {error}({', '.join(values)})", error=error, arguments=values)
