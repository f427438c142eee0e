"""Delegation files: what is signed comes back, what was changed does not count."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import FarlaneError, InvalidInput, InvalidSignature, TooLarge
from farlane.ledger.accounts import PrivateKey, address_from_bytes
from farlane.ledger.delegations import (
    MAX_BYTES,
    delegation_from_json,
    delegation_to_json,
    sign_delegation,
    verify_delegation,
)
from farlane.ledger.typed_data import Domain

PROVIDER, NODE, STRANGER = (PrivateKey.from_bytes(bytes([number]) * 32) for number in (1, 2, 3))
DOMAIN = Domain(31337, STRANGER.address, "ab" * 16)
SIGNED = sign_delegation(DOMAIN, PROVIDER, NODE.address, 2_000_000_000)
FILE = delegation_to_json(SIGNED)
NOW = 1_900_000_000.0


def test_a_signed_delegation_counts_for_its_node() -> None:
    found = delegation_from_json(FILE)
    verify_delegation(found, DOMAIN, NODE.address, NOW)
    assert found.delegation.provider == PROVIDER.address


@given(
    chain=st.integers(0, 2**64 - 1),
    expires=st.integers(0, 2**64 - 1),
    raw=st.binary(min_size=20, max_size=20),
    network=st.binary(min_size=16, max_size=16),
)
def test_every_delegation_comes_back_as_it_went(chain: int, expires: int, raw: bytes, network: bytes) -> None:
    address = address_from_bytes(raw)
    signed = sign_delegation(Domain(chain, address, network.hex()), PROVIDER, address, expires)
    assert delegation_from_json(delegation_to_json(signed)) == signed


@pytest.mark.parametrize(
    ("domain", "key", "now", "said"),
    [
        (dataclasses.replace(DOMAIN, network="cd" * 16), NODE, NOW, "for network abab"),
        (dataclasses.replace(DOMAIN, chain_id=1), NODE, NOW, "chain 31337"),
        (dataclasses.replace(DOMAIN, contract=NODE.address), NODE, NOW, "contract"),
        (DOMAIN, STRANGER, NOW, "this node's key is"),
        (DOMAIN, NODE, 2_000_000_000.0, "has passed"),
    ],
)
def test_elsewhere_for_others_and_later_it_does_not(
    domain: Domain, key: PrivateKey, now: float, said: str
) -> None:
    with pytest.raises(InvalidSignature, match=said):
        verify_delegation(SIGNED, domain, key.address, now)


@pytest.mark.parametrize(
    ("field", "value"),
    [("provider", STRANGER.address), ("key", STRANGER.address), ("expires", 2_100_000_000), ("network", "cd" * 16),
     ("chain_id", 1), ("contract", NODE.address), ("signature", "11" * 65)],
)  # fmt: skip
def test_whatever_is_changed_in_the_file_breaks_the_signature(field: str, value: object) -> None:
    document = json.loads(FILE) | {field: value}
    found = delegation_from_json(json.dumps(document).encode())
    with pytest.raises(InvalidSignature):
        # Against its own words, so that only the signature can tell.
        verify_delegation(found, found.domain, found.delegation.key, NOW)


@pytest.mark.parametrize(
    "change",
    [{"format": "farlane-receipt-1"}, {"expires": "soon"}, {"expires": -1}, {"expires": 2**64}, {"expires": True},
     {"chain_id": 1.5}, {"key": "0x12"}, {"provider": None}, {"signature": "zz"}, {"signature": "00"},
     {"network": "no hex"}, {"network": 12}, {"more": 1}],
)  # fmt: skip
def test_what_is_no_delegation_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        delegation_from_json(json.dumps(json.loads(FILE) | change).encode())


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b"{}", b"[" * 10000])
def test_what_is_not_even_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a delegation"):
        delegation_from_json(raw)


def test_a_file_beyond_any_delegation_is_refused() -> None:
    with pytest.raises(TooLarge):
        delegation_from_json(b" " * (MAX_BYTES + 1))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_errors_of_the_tree(raw: bytes) -> None:
    with pytest.raises(FarlaneError):
        delegation_from_json(raw)
