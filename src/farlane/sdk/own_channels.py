"""An organisation's own channels: what a hub says of them is checked, what to open, fill or close is planned; pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from farlane.domain.units import credits_text
from farlane.errors import Conflict, InsufficientFunds, InvalidInput, NotFound, PermissionRefused
from farlane.ledger import abi
from farlane.ledger.accounts import Address, parse_address
from farlane.ledger.deploy import Deployment
from farlane.ledger.port import CLOSED, ChannelOpened, ChannelState, LedgerEvent
from farlane.ledger.vouchers import MAX_UNITS, Channel, nano_floor
from farlane.wire.ledger import ChannelRow, LedgerStatus


class Action(StrEnum):
    """What can be done with a channel of one's own."""

    OPEN = "open"
    TOP_UP = "top-up"
    START_CLOSE = "start-close"
    FINISH_CLOSE = "finish-close"


@dataclass(frozen=True, slots=True)
class OwnChannel:
    """A channel whose id was found to be that of its four parts, and what the chain says of it.

    book: the hub's number of it, 0 where no hub was asked; node: what the hub calls the node.
    """

    channel: Channel
    state: ChannelState
    book: int = 0
    node: str = ""

    @property
    def text(self) -> str:
        """What people call it."""
        found = f"channel 0x{self.channel.id.hex()}"
        return f"the {found} of book {self.book} to node {self.node}" if self.book else f"the {found}"


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction. amount: units that it locks."""

    action: Action
    own: OwnChannel
    amount: int = 0

    @property
    def data(self) -> bytes:
        """The call of the ledger contract that does it."""
        channel = self.own.channel
        rest = channel.provider, channel.signer, channel.salt
        if self.action is Action.FINISH_CLOSE:
            return abi.encode_call("ComputeLedger", "finishClose", (channel.payer, *rest))
        if self.action is Action.START_CLOSE:
            return abi.encode_call("ComputeLedger", "startClose", rest)
        name = "open" if self.action is Action.OPEN else "topUp"
        return abi.encode_call("ComputeLedger", name, (*rest, self.amount))


@dataclass(slots=True)
class Plan:
    """What is still to be sent, and what an earlier command had sent already."""

    todo: list[Step] = field(default_factory=list)
    done: list[Step] = field(default_factory=list)

    def add(self, step: Step, finished: Container[bytes]) -> bool:
        """Take in a step; False where it is done already."""
        was_done = step.data in finished
        (self.done if was_done else self.todo).append(step)
        return not was_done


def check_hub(status: LedgerStatus, deployment: Deployment) -> None:
    """Check that a hub settles where the network file says.

    Raises:
        Conflict: elsewhere; nothing should be paid into its channels.
    """
    says = status.network, status.chain_id, status.contract
    if says != (deployment.network, deployment.chain_id, deployment.ledger):
        raise Conflict(
            f"the hub settles network {says[0]} on chain {says[1]} by the contract {says[2]}; the network file says "
            f"{deployment.network}, {deployment.chain_id} and {deployment.ledger}: it is another network's file or hub"
        )


def channel_of_row(row: ChannelRow, payer: Address) -> Channel:
    """Return a hub's channel after checking that it is this payer's and what the hub says it is.

    Raises:
        Conflict: its parts make another id, or the hub holds the account and does all this by itself.
        PermissionRefused: somebody else pays it.
    """
    if row.held:
        raise Conflict(
            f"the hub holds the account of {row.organisation} itself, and opens and fills its channels alone; "
            "hub.payers names organisations that hold their own"
        )
    salt = bytes.fromhex(row.salt.removeprefix("0x"))
    channel = Channel(parse_address(row.payer), parse_address(row.provider), parse_address(row.signer), salt)
    if "0x" + channel.id.hex() != row.channel:
        raise Conflict(
            f"the hub says that book {row.book} has channel {row.channel}; its payer, provider, signer and salt make "
            f"0x{channel.id.hex()}: pay nothing into it"
        )
    _check_payer(channel, payer)
    return channel


def find_row(rows: Iterable[ChannelRow], wanted: str) -> ChannelRow:
    """Return the row of a book's number or a channel's id.

    Raises:
        NotFound: there is none of this organisation.
    """
    for row in rows:
        if wanted in (str(row.book), row.channel):
            return row
    raise NotFound(
        f"your organisation has no channel {wanted!r}; `farlane ledger channels` lists book numbers and ids"
    )


def channel_on_chain(events: Iterable[LedgerEvent], wanted: str, payer: Address) -> Channel:
    """Return a channel by its id as its opening on the chain says; no hub is needed for it.

    Raises:
        NotFound: no such channel was ever opened.
        PermissionRefused: somebody else pays it.
    """
    for event in events:
        if isinstance(event, ChannelOpened) and "0x" + event.channel.id.hex() == wanted.lower():
            _check_payer(event.channel, payer)
            return event.channel
    raise NotFound(f"no channel {wanted} was ever opened on this contract")


def plan_open(
    owns: Sequence[OwnChannel], amount: int, free: int, upc: int, finished: Container[bytes]
) -> Plan:
    """Plan to open channels.

    Args:
        owns: which.
        amount: units to lock in each.
        free: units of the payer that are free in the contract.
        upc: units per credit.
        finished: calls that an earlier command had sent and that have ended well by now.

    Raises:
        Conflict: one was opened before.
        InsufficientFunds: the free balance does not cover all of them.
    """
    found = Plan()
    for own in owns:
        if found.add(Step(Action.OPEN, own, amount), finished) and own.state.exists:
            fix = (
                "`farlane ledger top-up` adds to it"
                if not own.state.close_at
                else "work goes on in a new book"
            )
            raise Conflict(f"{own.text} is {_words(own.state, upc)} already; {fix}")
    _check_covered(found, free, upc)
    return found


def plan_top_up(own: OwnChannel, amount: int, free: int, upc: int, finished: Container[bytes]) -> Plan:
    """Plan to add to a channel's deposit; as `plan_open`.

    Raises:
        Conflict: it is not open.
        InsufficientFunds: the free balance does not cover it.
    """
    found = Plan()
    if found.add(Step(Action.TOP_UP, own, amount), finished):
        if not own.state.exists:
            raise Conflict(f"{own.text} was never opened; `farlane ledger open` does")
        if own.state.close_at:
            raise Conflict(f"{own.text} is {_words(own.state, upc)}: nothing can be added to it any more")
        if own.state.deposit + amount > MAX_UNITS:
            raise InvalidInput(f"{own.text} cannot hold so much; expected at most {MAX_UNITS} units in all")
    _check_covered(found, free, upc)
    return found


def plan_close(own: OwnChannel, now: float, upc: int, finished: Container[bytes]) -> Plan:
    """Plan the next step of closing: announce it, or take back the rest once the provider's time is over.

    Nothing is left to do while that time runs.

    Args:
        own: which.
        now: of the chain's head, unix seconds.
        upc: units per credit.
        finished: as `plan_open`.

    Raises:
        Conflict: it was never opened, or is closed.
    """
    found, state = Plan(), own.state
    for action in (Action.START_CLOSE, Action.FINISH_CLOSE):
        step = Step(action, own)
        if step.data in finished:
            found.add(step, finished)
    if not state.exists:
        raise Conflict(f"{own.text} was never opened: there is nothing to close")
    if state.close_at == CLOSED:
        if not found.done:
            raise Conflict(f"{own.text} is {_words(state, upc)} already")
    elif not state.close_at:
        found.todo.append(Step(Action.START_CLOSE, own))
    elif now >= state.close_at:
        found.todo.append(Step(Action.FINISH_CLOSE, own))
    return found


def moment_text(at: float) -> str:
    """Return a moment for people, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="seconds")


def _check_payer(channel: Channel, payer: Address) -> None:
    if channel.payer != payer:
        raise PermissionRefused(
            f"the channel 0x{channel.id.hex()} is paid by {channel.payer}; your key is {payer}: name the key that pays "
            "it with --key"
        )


def _check_covered(plan: Plan, free: int, upc: int) -> None:
    wanted = sum(step.amount for step in plan.todo)
    if wanted > free:
        has, asked = (credits_text(nano_floor(units, upc)) for units in (free, wanted))
        raise InsufficientFunds(
            f"your account has {has} credits free in the ledger; {asked} are needed: `farlane ledger deposit` adds more"
        )


def _words(state: ChannelState, upc: int) -> str:
    if state.close_at == CLOSED:
        return "closed"
    if state.close_at:
        return f"closing until {moment_text(state.close_at)}"
    return f"open with {credits_text(nano_floor(state.deposit, upc))} credits"
