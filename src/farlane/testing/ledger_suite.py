"""The suite every ledger passes: channels, vouchers, closes, refusals and the events that tell all of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from farlane.errors import Reverted
from farlane.ledger import port
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.port import CLOSED, ChannelState, Ledger, SignedClaim
from farlane.ledger.vouchers import Channel, Voucher, sign_voucher

ROOT = bytes(range(32))


@dataclass(frozen=True)
class LedgerWorld:
    """A fresh ledger whose payer has 1,000,000 units of the token, and a way to let its time pass."""

    ledger: Ledger
    payer: PrivateKey
    provider: PrivateKey
    session: PrivateKey
    pass_time: Callable[[int], Awaitable[None]]
    close_window_s: int

    def channel(self, number: int = 1) -> Channel:
        """Return a channel of payer and provider."""
        return Channel(
            self.payer.address, self.provider.address, self.session.address, number.to_bytes(32, "big")
        )

    def claim(self, cumulative: int, number: int = 1, key: PrivateKey | None = None) -> SignedClaim:
        """Return a signed voucher over a channel."""
        channel = self.channel(number)
        voucher = Voucher(channel.id, cumulative, 10 * cumulative, ROOT)
        return SignedClaim(channel, sign_voucher(self.ledger.domain, key or self.session, voucher))


async def refused(work: Awaitable[object], error: str) -> None:
    """Check that the contract refuses, and why."""
    with pytest.raises(Reverted) as caught:
        await work
    assert caught.value.facts["error"] == error


class LedgerSuite:
    """Subclass it with a fixture `world` that returns a LedgerWorld."""

    async def test_money_goes_in_and_out(self, world: LedgerWorld) -> None:
        """Balances follow deposits and withdrawals."""
        ledger, payer = world.ledger, world.payer
        await ledger.deposit(payer, 600)
        await ledger.withdraw(payer, world.provider.address, 200)
        assert await ledger.balance(payer.address) == 400
        assert await ledger.token_balance(payer.address) == 999_400
        assert await ledger.token_balance(world.provider.address) == 200
        await refused(ledger.withdraw(payer, payer.address, 401), "InsufficientBalance")
        await refused(ledger.deposit(payer, 0), "ZeroAmount")

    async def test_vouchers_pay_what_is_new(self, world: LedgerWorld) -> None:
        """The newest voucher counts, once, up to the deposit."""
        ledger, channel = world.ledger, world.channel()
        await ledger.deposit(world.payer, 1000)
        await ledger.open_channel(world.payer, channel, 500)
        await ledger.settle(world.provider, [world.claim(100)])
        await ledger.settle(world.provider, [world.claim(250)])
        assert await ledger.channel(channel.id) == ChannelState(500, 250, 0)
        assert await ledger.balance(world.provider.address) == 250
        await refused(ledger.settle(world.provider, [world.claim(250)]), "NothingToClaim")
        await refused(ledger.settle(world.provider, [world.claim(501)]), "DepositExceeded")
        await refused(ledger.settle(world.provider, [world.claim(300, key=world.payer)]), "InvalidSignature")
        await refused(ledger.settle(world.provider, [world.claim(1, 2)]), "ChannelNotOpen")
        await ledger.top_up(world.payer, channel, 1)
        await ledger.settle(world.provider, [world.claim(501)])
        assert await ledger.balance(world.payer.address) == 499

    async def test_changed_vouchers_are_refused(self, world: LedgerWorld) -> None:
        """A signature covers every field."""
        ledger = world.ledger
        await ledger.deposit(world.payer, 1000)
        for number in (1, 2):
            await ledger.open_channel(world.payer, world.channel(number), 500)
        good = world.claim(100)
        voucher = good.signed.voucher
        for changed in (
            replace(voucher, cumulative=101),
            replace(voucher, tasks=7),
            replace(voucher, root=bytes(32)),
        ):
            claim = replace(good, signed=replace(good.signed, voucher=changed))
            await refused(ledger.settle(world.provider, [claim]), "InvalidSignature")
        await refused(
            ledger.settle(world.provider, [replace(good, channel=world.channel(2))]), "InvalidSignature"
        )
        await ledger.settle(world.provider, [good])

    async def test_a_batch_is_all_or_nothing(self, world: LedgerWorld) -> None:
        """One bad voucher undoes the others."""
        ledger = world.ledger
        await ledger.deposit(world.payer, 1000)
        for number in (1, 2, 3):
            await ledger.open_channel(world.payer, world.channel(number), 100)
        await refused(
            ledger.settle(world.provider, [world.claim(10, 1), world.claim(101, 2)]), "DepositExceeded"
        )
        assert await ledger.balance(world.provider.address) == 0
        await ledger.settle(world.provider, [world.claim(10 * number, number) for number in (1, 2, 3)])
        assert await ledger.balance(world.provider.address) == 60
        assert await ledger.transaction_count() == 3

    async def test_a_provider_is_paid_inside_the_close_window(self, world: LedgerWorld) -> None:
        """A payer that leaves cannot take what it has promised."""
        ledger, channel = world.ledger, world.channel()
        await ledger.deposit(world.payer, 1000)
        await ledger.open_channel(world.payer, channel, 500)
        await ledger.start_close(world.payer, channel)
        await refused(ledger.start_close(world.payer, channel), "AlreadyClosing")
        await refused(ledger.finish_close(world.payer, channel), "CloseWindowOpen")
        await refused(ledger.top_up(world.payer, channel, 1), "ChannelNotOpen")
        await ledger.settle(world.provider, [world.claim(400)])
        await world.pass_time(world.close_window_s + 1)
        await ledger.finish_close(world.provider, channel)
        assert await ledger.balance(world.payer.address) == 600
        assert (await ledger.channel(channel.id)).close_at == CLOSED

    async def test_closed_channels_stay_closed(self, world: LedgerWorld) -> None:
        """A tombstone takes no vouchers and no second life."""
        ledger, channel = world.ledger, world.channel()
        await ledger.deposit(world.payer, 1000)
        await ledger.open_channel(world.payer, channel, 500)
        await ledger.close_by_provider(world.provider, channel)
        assert await ledger.balance(world.payer.address) == 1000
        await refused(ledger.settle(world.provider, [world.claim(1)]), "ChannelNotOpen")
        await refused(ledger.open_channel(world.payer, channel, 1), "ChannelExists")
        await refused(ledger.close_by_provider(world.provider, channel), "ChannelNotOpen")
        await refused(ledger.finish_close(world.payer, channel), "ChannelNotClosing")

    async def test_events_tell_everything(self, world: LedgerWorld) -> None:
        """Whoever replays the events knows all balances."""
        ledger, channel = world.ledger, world.channel()
        await ledger.deposit(world.payer, 1000)
        await ledger.open_channel(world.payer, channel, 300)
        await ledger.top_up(world.payer, channel, 200)
        await ledger.settle(world.provider, [world.claim(350)])
        await ledger.start_close(world.payer, channel)
        await ledger.close_by_provider(world.provider, channel)
        await ledger.withdraw(world.provider, world.provider.address, 50)
        events = await ledger.events()
        assert [type(event).__name__ for event in events] == [
            "Deposited", "ChannelOpened", "ChannelToppedUp", "VoucherSettled", "CloseStarted", "ChannelClosed",
            "Withdrawn",
        ]  # fmt: skip
        opened, settled, closed = events[1], events[3], events[5]
        assert isinstance(opened, port.ChannelOpened)
        assert isinstance(settled, port.VoucherSettled)
        assert isinstance(closed, port.ChannelClosed)
        assert opened.channel == channel
        assert (settled.cumulative, settled.paid, settled.tasks, settled.root) == (350, 350, 3500, ROOT)
        assert (settled.channel_id, closed.refunded) == (channel.id, 150)
        assert await ledger.events(events[3].block, events[4].block) == events[3:5]
