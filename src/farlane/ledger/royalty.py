"""Royalties of models: a second channel from the publisher to whoever a model's owner names, settled with the first."""

from __future__ import annotations

from farlane.errors import InvalidInput
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.model_registry import RegisteredModel, model_id
from farlane.ledger.port import SignedClaim
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel, Voucher, sign_voucher

_BPS = 10_000


def royalty_channel(payer: Address, signer: Address, model: RegisteredModel) -> Channel:
    """Return the channel that pays a model's royalty: its salt is the model's id, so that anybody finds it on chain.

    Raises:
        InvalidInput: the model's owner asks for none.
    """
    if not model.royalty_bps or model.royalty_to is None:
        raise InvalidInput(f"model {model.name!r} asks for no royalty: open no channel for it")
    return Channel(payer, model.royalty_to, signer, model_id(model.name))


def royalty_units_floor(spent_units: int, royalty_bps: int) -> int:
    """Return the royalty on all that was spent on a model so far, rounded down as the contract's royaltyInfo does.

    Taken of the running total, never of single amounts, so that nothing is lost over time.
    """
    return spent_units * royalty_bps // _BPS


def royalty_claim(
    domain: Domain, session: PrivateKey, payer: Address, model: RegisteredModel, work: Voucher
) -> SignedClaim:
    """Promise the royalty on a voucher for work with a model; both can settle in one transaction, all or none.

    Args:
        domain: where signatures count.
        session: the session key of both channels.
        payer: the publisher.
        model: the model, with the royalty the publisher has agreed to.
        work: the provider's voucher; the royalty names the same tasks and the same root, so that it can be checked
            against the same receipts.

    Raises:
        InvalidInput: the model asks for no royalty, or it is less than one unit so far.
    """
    channel = royalty_channel(payer, session.address, model)
    owed = royalty_units_floor(work.cumulative, model.royalty_bps)
    if owed == 0:
        raise InvalidInput(
            f"the royalty on {work.cumulative} units is less than one unit; claim it with a later voucher"
        )
    return SignedClaim(
        channel, sign_voucher(domain, session, Voucher(channel.id, owed, work.tasks, work.root))
    )
