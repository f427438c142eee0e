"""Chain against events, and record against chain: balances, channels, and what was settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from farlane.ledger import port
from farlane.ledger.audit.chain_replay import ChainReplay, event_text
from farlane.ledger.audit.chain_view import ChainView
from farlane.ledger.audit.claims import Claims, SizeClaim
from farlane.ledger.audit.deviations import Deviations
from farlane.ledger.audit.record_audit import BookSum
from farlane.ledger.port import CLOSED, ChannelState
from farlane.ledger.record import RecordHeader

_NEVER = ChannelState(0, 0, 0)


def claim_settlements(view: ChainView, claims: Claims) -> None:
    """Note what was settled, to be held against the record's leaves."""
    for event in view.events:
        if isinstance(event, port.VoucherSettled):
            claim = SizeClaim(event_text(event), True, event.root, event.cumulative)
            claims.add_size(event.channel_id, event.tasks, claim)


def check_state(view: ChainView, replay: ChainReplay, into: Deviations) -> None:
    """Hold the contract's own state against what its events add up to."""
    for account in sorted({*view.balances, *replay.balances}):
        _same("chain-balance", account, replay.balances[account], view.balances.get(account), into)
        _same("chain-settlements", account, replay.settlements[account], view.settlements.get(account), into)
    for channel in {**view.channels, **replay.channels}:
        expected, found = replay.channels.get(channel, _NEVER), view.channels.get(channel, _NEVER)
        _same("chain-channel", f"channel 0x{channel.hex()}", expected, found, into)
    _same("chain-count", f"contract {view.deployment.ledger}", replay.transactions, view.transactions, into)
    owed = sum(replay.balances.values()) + replay.locked
    if view.token_balance != owed:
        code = "chain-token-short" if view.token_balance < owed else "chain-token-surplus"
        into.add(code, f"contract {view.deployment.ledger}", f"{owed} units", f"{view.token_balance} units")


def same_ledger(header: RecordHeader, view: ChainView, into: Deviations) -> bool:
    """Check that record and chain are of one network."""
    deployment = view.deployment
    if view.problem:
        into.add(
            "chain-contract", f"contract {deployment.ledger}", f"network {deployment.network}", view.problem
        )
    elif header.domain != deployment.domain:
        into.add("chain-domain", "the record's first line", deployment.domain, header.domain)
    else:
        if header.units_per_credit != deployment.units_per_credit:
            into.add(
                "chain-units", "the record's first line", deployment.units_per_credit, header.units_per_credit
            )
        return True
    return False


def check_books(
    books: Mapping[bytes, BookSum], view: ChainView, replay: ChainReplay, into: Deviations
) -> None:
    """Hold every book against its channel, and find channels without a book."""
    for channel, book in books.items():
        _check_book(book, replay.channels.get(channel), into)
    for event in view.events:
        if isinstance(event, port.ChannelOpened) and event.channel.id not in books:
            parties = f"payer {event.channel.payer}, provider {event.channel.provider}"
            into.add("channel-outside", f"channel 0x{event.channel.id.hex()}", "a book of this hub", parties)
    _check_beyond(books, view.events, into)


def _check_book(book: BookSum, state: ChannelState | None, into: Deviations) -> None:
    where = f"book {book.book}, channel 0x{book.channel.id.hex()}"
    promised = book.signed_units
    if state is None:
        if promised:
            into.add("channel-missing", where, f"a channel with at least {promised} units", "no channel")
        return
    if state.claimed > promised:
        into.add("settled-beyond", where, f"at most {promised} units", f"{state.claimed} units settled")
    if promised <= state.claimed:
        return
    if state.close_at == CLOSED:
        lost = f"{state.claimed} units claimed: {book.channel.provider} lost {promised - state.claimed} units"
        into.add("channel-unclaimed", where, f"{promised} units claimed", lost)
    elif promised > state.deposit:
        into.add("channel-short", where, f"a deposit of at least {promised} units", f"{state.deposit} units")


def _check_beyond(
    books: Mapping[bytes, BookSum], events: Iterable[port.LedgerEvent], into: Deviations
) -> None:
    """Find settlements over more leaves than the record has; those over fewer were compared on the way."""
    for event in events:
        if isinstance(event, port.VoucherSettled) and event.channel_id in books:
            book = books[event.channel_id]
            if not 0 < event.tasks <= book.leaves:
                into.add(
                    "settled-beyond",
                    f"book {book.book}, {event_text(event)}",
                    f"1 to {book.leaves} leaves",
                    f"{event.tasks} leaves",
                )


def _same(code: str, where: str, expected: object, found: object, into: Deviations) -> None:
    if expected != found:
        into.add(code, where, expected, found)
