"""Keys, typed data and vouchers, against an independent implementation of the same standards."""

from __future__ import annotations

import dataclasses

import pytest

from farlane.errors import InvalidInput, InvalidSignature
from farlane.kit.recursion import recursion_limit_kept
from farlane.ledger.accounts import CURVE_ORDER, PrivateKey, address_from_bytes, parse_address, recover
from farlane.ledger.keccak import keccak256
from farlane.ledger.transactions import Transaction, contract_address, sign_transaction
from farlane.ledger.typed_data import STRUCTS, Domain, digest, document, network_salt
from farlane.ledger.vouchers import (
    Channel,
    Delegation,
    TreeHead,
    Voucher,
    check_delegation,
    check_head,
    check_voucher,
    delegation_digest,
    nano_floor,
    sign_head,
    sign_voucher,
    units_floor,
)

with recursion_limit_kept():
    from eth_account import Account
    from eth_account.messages import encode_typed_data

KEY = PrivateKey.from_bytes(bytes([7]) * 32)
OTHER = PrivateKey.from_bytes(bytes([8]) * 32)
DOMAIN = Domain(31337, OTHER.address, "ab" * 16)
VALUES = {"address": OTHER.address, "bytes32": bytes(range(32))}


def test_keccak_is_the_one_of_ethereum() -> None:
    # Source: the well-known hash of empty code, Ethereum yellow paper.
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_addresses_are_those_of_others() -> None:
    assert KEY.address == Account.from_key(KEY.to_bytes()).address
    assert parse_address(KEY.address.lower()) == KEY.address
    assert parse_address("0x" + KEY.address[2:].upper()) == KEY.address


@pytest.mark.parametrize("text", ["", "0x12", "no address", "0x" + "g" * 40])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="not an address"):
        parse_address(text)


def test_a_mistyped_digit_is_found() -> None:
    # Source: an example of EIP-55, with its last digit changed.
    with pytest.raises(InvalidInput, match="wrong digit"):
        parse_address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeE")


@pytest.mark.parametrize("name", list(STRUCTS))
def test_typed_data_signs_as_wallets_do(name: str) -> None:
    values = [VALUES.get(kind, 12345) for kind, _ in STRUCTS[name]]
    theirs = Account.sign_message(
        encode_typed_data(full_message=document(DOMAIN, name, values)), KEY.to_bytes()
    )
    signature = KEY.sign(digest(DOMAIN, name, values))
    assert signature == bytes(theirs.signature)
    assert recover(digest(DOMAIN, name, values), signature) == KEY.address


def test_malleable_and_broken_signatures_are_refused() -> None:
    what = keccak256(b"x")
    signature = KEY.sign(what)
    s = int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + (CURVE_ORDER - s).to_bytes(32, "big") + bytes((55 - signature[64],))
    with pytest.raises(InvalidSignature, match="upper half"):
        recover(what, twin)
    for broken, words in (
        (signature[:64], "65 bytes"),
        (signature[:64] + b"\x01", "27 or 28"),
        (b"\xff" * 32 + bytes(31) + b"\x01\x1b", "no key"),
    ):
        with pytest.raises(InvalidSignature, match=words):
            recover(what, broken)


def test_keys_show_their_address_and_nothing_else() -> None:
    assert repr(KEY) == f"PrivateKey({KEY.address})"
    assert KEY.to_bytes().hex() not in repr(KEY)
    for wrong in (b"", bytes(32), CURVE_ORDER.to_bytes(32, "big")):
        with pytest.raises(InvalidInput, match="not a secp256k1 key"):
            PrivateKey.from_bytes(wrong)
    assert PrivateKey.generate().address != PrivateKey.generate().address


def test_vouchers_and_heads_count_for_their_signer_and_domain_only() -> None:
    channel = Channel(KEY.address, OTHER.address, KEY.address, bytes(32))
    voucher = sign_voucher(DOMAIN, KEY, Voucher(channel.id, 5, 1, bytes(32)))
    head = sign_head(DOMAIN, OTHER, TreeHead(channel.id, 1, bytes(32)))
    check_voucher(DOMAIN, voucher, KEY.address)
    check_head(DOMAIN, head, OTHER.address)
    with pytest.raises(InvalidSignature, match="the voucher is signed by"):
        check_voucher(DOMAIN, voucher, OTHER.address)
    for elsewhere in (
        dataclasses.replace(DOMAIN, chain_id=1),
        dataclasses.replace(DOMAIN, network="cd" * 16),
        dataclasses.replace(DOMAIN, contract=KEY.address),
    ):
        with pytest.raises(InvalidSignature):
            check_voucher(elsewhere, voucher, KEY.address)
        with pytest.raises(InvalidSignature):
            check_head(elsewhere, head, OTHER.address)


def test_delegations_expire_and_belong_to_their_provider() -> None:
    delegation = Delegation(KEY.address, OTHER.address, 1000)
    signature = KEY.sign(delegation_digest(DOMAIN, delegation))
    check_delegation(DOMAIN, delegation, signature, 999.0)
    check_delegation(DOMAIN, Delegation(KEY.address, KEY.address, 0), b"", 999.0)
    with pytest.raises(InvalidSignature, match="has passed"):
        check_delegation(DOMAIN, delegation, signature, 1000.0)
    with pytest.raises(InvalidSignature, match="the delegation is signed by"):
        check_delegation(DOMAIN, dataclasses.replace(delegation, expires=2000), signature, 999.0)


def test_units_round_down_on_the_total() -> None:
    assert units_floor(1_999_999_999, 10**6) == 1_999_999
    assert units_floor(5, 10**9) == 5
    assert nano_floor(units_floor(7 * 10**9, 10**18), 10**18) == 7 * 10**9


def test_network_ids_are_hex() -> None:
    assert network_salt("ab" * 16) == bytes(16) + b"\xab" * 16
    for wrong in ("", "xyz", "00" * 33):
        with pytest.raises(InvalidInput, match="network's id"):
            network_salt(wrong)


def test_transactions_are_those_of_others() -> None:
    ours = sign_transaction(Transaction(31337, 3, 10**9, 2 * 10**9, 21_000, OTHER.address, 5, b"\x01"), KEY)
    theirs = Account.sign_transaction(
        {"chainId": 31337, "nonce": 3, "maxPriorityFeePerGas": 10**9, "maxFeePerGas": 2 * 10**9, "gas": 21_000,
         "to": OTHER.address, "value": 5, "data": b"\x01", "type": 2}, KEY.to_bytes(),
    )  # fmt: skip
    assert (ours.raw, ours.hash) == (bytes(theirs.raw_transaction), bytes(theirs.hash))
    with pytest.raises(InvalidInput, match="impossible figures"):
        sign_transaction(Transaction(1, 0, 2, 1, 21_000, None, 0, b""), KEY)


def test_contract_addresses_follow_from_creator_and_nonce() -> None:
    # Source: the first contract a development chain's first account creates.
    creator = parse_address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
    assert address_from_bytes(contract_address(creator, 0)) == "0x5FbDB2315678afecb367f032d93F642f64180aa3"
    with pytest.raises(InvalidInput, match="20 bytes"):
        address_from_bytes(b"")
