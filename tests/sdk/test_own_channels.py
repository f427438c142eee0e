"""Own channels: a hub that says something else than the chain is caught, and each plan follows from what is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.errors import Conflict, FarlaneError, InsufficientFunds, NotFound, PermissionRefused
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import Deployment
from farlane.ledger.port import CLOSED, ChannelOpened, ChannelState
from farlane.ledger.vouchers import MAX_UNITS, Channel
from farlane.sdk.own_channels import (
    Action,
    OwnChannel,
    Step,
    channel_of_row,
    channel_on_chain,
    check_hub,
    find_row,
    plan_close,
    plan_open,
    plan_top_up,
)
from farlane.wire.ledger import ChannelRow, LedgerStatus

PAYER, PROVIDER, SIGNER = (PrivateKey.from_bytes(bytes([digit]) * 32).address for digit in (1, 2, 3))
CHANNEL = Channel(PAYER, PROVIDER, SIGNER, bytes([7]) * 32)
UPC = 10**9
ROW = ChannelRow(
    3, "lab", "n1", "oak", "0x" + CHANNEL.id.hex(), PAYER, PROVIDER, SIGNER, "0x" + CHANNEL.salt.hex(), "none", 0, 0, 5,
    0, 1, 0, "", held=False, wanted=9, notice="open it",
)  # fmt: skip


def own(deposit: int = 0, close_at: int = 0, claimed: int = 0) -> OwnChannel:
    return OwnChannel(CHANNEL, ChannelState(deposit, claimed, close_at), 3, "oak")


def test_a_row_is_taken_only_if_its_parts_make_its_id() -> None:
    assert channel_of_row(ROW, PAYER) == CHANNEL
    for changed in (
        replace(ROW, provider=SIGNER),
        replace(ROW, signer=PROVIDER),
        replace(ROW, salt="0x" + "08" * 32),
    ):
        with pytest.raises(Conflict, match="pay nothing into it"):
            channel_of_row(changed, PAYER)
    with pytest.raises(PermissionRefused, match="name the key that pays it"):
        channel_of_row(ROW, SIGNER)
    with pytest.raises(Conflict, match=r"hub\.payers"):
        channel_of_row(replace(ROW, held=True), PAYER)


def test_a_channel_is_found_by_book_or_id() -> None:
    assert find_row([ROW], "3") is ROW
    assert find_row([ROW], ROW.channel) is ROW
    with pytest.raises(NotFound, match="lists book numbers and ids"):
        find_row([ROW], "4")
    event = ChannelOpened(1, bytes(32), 0, CHANNEL, 5)
    assert channel_on_chain([event], ROW.channel.upper().replace("0X", "0x"), PAYER) == CHANNEL
    with pytest.raises(NotFound, match="was ever opened"):
        channel_on_chain([event], "0x" + "00" * 32, PAYER)
    with pytest.raises(PermissionRefused, match="name the key"):
        channel_on_chain([event], ROW.channel, SIGNER)


def test_a_hub_of_another_network_is_refused() -> None:
    where = Deployment("ab" * 16, 7, PAYER, PROVIDER, SIGNER, SIGNER, SIGNER, UPC, 0)
    status = LedgerStatus(
        "ab" * 16, 7, PROVIDER, "", False, "", "", "lab", PAYER, False, 0, 0, 0, 0, 0, 0
    )  # fmt: skip
    check_hub(status, where)
    for changed in (
        replace(status, network="cd" * 16),
        replace(status, chain_id=8),
        replace(status, contract=SIGNER),
    ):
        with pytest.raises(Conflict, match="another network's file or hub"):
            check_hub(changed, where)


def test_opening_spends_no_more_than_is_free_and_nothing_twice() -> None:
    step = Step(Action.OPEN, own(), 5)
    assert plan_open([own()], 5, 5, UPC, ()).todo == [step]
    with pytest.raises(InsufficientFunds, match="are needed"):
        plan_open([own(), own()], 5, 9, UPC, ())
    found = plan_open([own(deposit=5)], 5, 0, UPC, {step.data})
    assert not found.todo
    assert [one.action for one in found.done] == [Action.OPEN]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (own(5), "is open with 0.000000005 credits already; `farlane ledger top-up`"),
        (own(5, 99), "is closing until 1970-01-01 00:01:39"),
        (own(5, CLOSED), "is closed already; work goes on in a new book"),
    ],
)
def test_what_was_opened_is_not_opened_again(there: OwnChannel, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        plan_open([there], 5, 5, UPC, ())


def test_topping_up() -> None:
    step = Step(Action.TOP_UP, own(5), 3)
    assert plan_top_up(own(5), 3, 3, UPC, ()).todo == [step]
    assert plan_top_up(own(8), 3, 0, UPC, {step.data}).done == [replace(step, own=own(8))]
    wrong: list[tuple[OwnChannel, int, type[FarlaneError]]] = [
        (own(), 3, Conflict),
        (own(5, 99), 3, Conflict),
        (own(5, CLOSED), 3, Conflict),
        (own(5), 4, InsufficientFunds),
    ]
    for there, amount, error in wrong:
        with pytest.raises(error):
            plan_top_up(there, amount, 3, UPC, ())
    with pytest.raises(FarlaneError, match="cannot hold so much"):
        plan_top_up(own(5), MAX_UNITS, MAX_UNITS, UPC, ())


def test_closing_takes_two_steps_with_the_window_between_them() -> None:
    start, finish = (Step(action, own()).data for action in (Action.START_CLOSE, Action.FINISH_CLOSE))
    assert [one.data for one in plan_close(own(5), 0, UPC, ()).todo] == [start]
    assert plan_close(own(5, 100), 99, UPC, ()).todo == []
    assert [one.data for one in plan_close(own(5, 100), 100, UPC, ()).todo] == [finish]
    assert [one.data for one in plan_close(own(5, 100), 99, UPC, {start}).done] == [start]
    assert [one.data for one in plan_close(own(5, CLOSED), 100, UPC, {finish}).done] == [finish]
    for there in (own(), own(5, CLOSED)):
        with pytest.raises(Conflict):
            plan_close(there, 100, UPC, ())


def test_a_channel_without_a_hub_is_called_by_its_id() -> None:
    assert OwnChannel(CHANNEL, ChannelState(0, 0, 0)).text == f"the channel 0x{CHANNEL.id.hex()}"
    assert own().text.endswith("of book 3 to node oak")
