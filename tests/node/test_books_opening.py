"""Opening a node's books: settings that cannot be are refused, its key is made once and opened late."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.errors import InvalidSetting, NotFound
from farlane.node.books.claim_terms import ClaimTerms, claim_terms
from farlane.node.books.opening import open_books
from farlane.node.settings import NodeSettings
from farlane.testing.builders import RATES
from farlane.testing.scripted_book import DOMAIN


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"rpc": "http://127.0.0.1:1"}, InvalidSetting, "without node.network_file"),
        ({"network_file": Path("/nowhere")}, NotFound, "node.network_file"),
        ({"credit": "much"}, InvalidSetting, "node.credit"),
        ({"claim_credits": "some"}, InvalidSetting, "node.claim_credits"),
        ({"max_fee_gwei": 0.0}, InvalidSetting, "node.max_fee_gwei"),
        ({"confirmations": -1}, InvalidSetting, "node.confirmations"),
        ({"provider": DOMAIN.contract}, InvalidSetting, "farlane key delegate"),
        ({"delegation": Path("/nowhere")}, NotFound, "node.delegation"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], complaint: str
) -> None:
    settings = replace(NodeSettings(directory=tmp_path), **changes)  # type: ignore[arg-type]
    with pytest.raises(error, match=complaint):
        open_books(settings, RATES, 0.0)


def test_the_nodes_key_is_made_once_and_known_without_opening_it(tmp_path: Path) -> None:
    settings = NodeSettings(directory=tmp_path)
    first = open_books(settings, RATES, 0.0)
    first.store.close()
    assert first.key.key is not None
    assert first.stored.prices == (RATES,)
    again = open_books(replace(settings, credit="unlimited"), replace(RATES, gib_moved=7), 0.0)
    again.store.close()
    assert (again.key.address, again.key.key) == (first.key.address, None)
    assert again.stored.prices == (RATES, replace(RATES, gib_moved=7))
    assert again.rhythm.credit_nano is None


async def test_the_key_opens_when_it_is_needed(tmp_path: Path) -> None:
    first = open_books(NodeSettings(directory=tmp_path), RATES, 0.0)
    first.store.close()
    again = open_books(NodeSettings(directory=tmp_path), RATES, 0.0)
    again.store.close()
    await again.key.unlock()
    assert again.key.key is not None
    assert again.key.key.address == first.key.address


def test_how_a_node_claims_is_read_from_its_settings() -> None:
    assert claim_terms(NodeSettings()) == ClaimTerms(0, 500 * 10**9, 2)
    terms = claim_terms(NodeSettings(claim_credits="2.5", max_fee_gwei=0.5, confirmations=0))
    assert terms == ClaimTerms(2_500_000_000, 500_000_000, 0)
    assert terms.urgent_max_fee_wei == 5_000_000_000


def test_a_node_without_a_chain_loads_no_way_to_one() -> None:
    code = (
        "import sys, farlane.node.agent; print(sorted({'farlane.ledger.outbox', 'farlane.ledger.rpc', "
        "'farlane.ledger.ethereum', 'farlane.node.claims', 'aiohttp', 'eth_abi', 'eth_keyfile'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
