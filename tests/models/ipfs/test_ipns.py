"""IPNS records: taken from whoever has them, believed only where the owner of the name signed them."""

from __future__ import annotations

import dag_cbor
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from farlane.errors import Corrupted, InvalidInput, InvalidSignature, NotFound, Unavailable
from farlane.kit.clock import ManualClock
from farlane.models.cid import RAW, block_cid
from farlane.models.ipfs.ipns import MAX_RECORD_BYTES, open_record, parse_ipns_name
from farlane.models.ipfs.naming import newest_record, resolve
from farlane.models.unixfs.protobuf import bytes_field

OWNER, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEY = OWNER.public_key().public_bytes_raw()
END = b"2030-01-02T03:04:05.123456789Z"
END_S = 1893553445.123456


def name_of(key: bytes) -> str:
    number, digits = int.from_bytes(bytes((1, 0x72, 0, 0x24, 8, 1, 0x12, 0x20)) + key, "big"), ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return "k" + digits


def record(path: str = "/ipfs/bafy", sequence: int = 1, by: Ed25519PrivateKey = OWNER, **changes) -> bytes:
    said = {
        "Value": path.encode(),
        "Validity": END,
        "ValidityType": 0,
        "Sequence": sequence,
        "TTL": 1,
        **changes,
    }
    data = dag_cbor.encode(said)
    return (
        bytes_field(1, b"ignored") + bytes_field(8, by.sign(b"ipns-signature:" + data)) + bytes_field(9, data)
    )


def test_a_record_by_the_owner_is_believed() -> None:
    found = open_record(record("/ipfs/bafy", 7), KEY, END_S - 1)
    assert (found.path, found.sequence) == ("/ipfs/bafy", 7)
    assert found.valid_until == pytest.approx(END_S, abs=1e-3)


def test_a_record_by_somebody_else_is_not() -> None:
    with pytest.raises(InvalidSignature):
        open_record(record(by=STRANGER), KEY, 0)


def test_a_record_ends() -> None:
    with pytest.raises(NotFound, match="no longer valid"):
        open_record(record(), KEY, END_S + 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\xff\xff", bytes(MAX_RECORD_BYTES + 1), bytes_field(8, bytes(64)), record(Value=3), record(Sequence="1"),
        record(ValidityType=1), record(Validity=b"tomorrow"), record(Validity=b"2030-01-02T03:04:05"),
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused(raw: bytes) -> None:
    with pytest.raises(Corrupted):
        open_record(raw, KEY, 0)


def test_names_hold_the_key() -> None:
    assert parse_ipns_name(name_of(KEY)) == KEY
    for other in (
        "",
        "en.wikipedia-on-ipfs.org",
        "k51",
        name_of(KEY)[:-1],
        name_of(KEY) + "0",
        "QmUNLL",
        "b!",
    ):
        with pytest.raises(InvalidInput, match="IPNS name"):
            parse_ipns_name(other)


def test_of_several_gateways_the_newest_record_counts(scripted) -> None:
    answers = [(404, b""), (200, record(sequence=2, path="/ipfs/old")), (200, record(sequence=10, path="/ipfs/new")),
               (200, record(sequence=99, by=STRANGER)), (500, b"")]  # fmt: skip
    urls = [scripted(*answer).url for answer in answers]
    assert newest_record(name_of(KEY), urls, ManualClock()).path == "/ipfs/new"


def test_nobody_has_a_record(scripted) -> None:
    with pytest.raises(NotFound, match="no gateway gives a valid record"):
        newest_record(name_of(KEY), [scripted(404, b"").url], ManualClock())
    with pytest.raises(Unavailable):
        newest_record(name_of(KEY), [scripted(404, b"").url, scripted(500, b"").url], ManualClock())


def test_an_address_is_resolved_to_the_cid_it_means(scripted) -> None:
    cid = block_cid(RAW, b"version")
    for address in (cid.text, f"ipfs://{cid.text}", f"/ipfs/{cid.text}/"):
        assert resolve(address, [], None) == cid
    server = scripted(200, record(path=f"/ipfs/{cid.text}"))
    assert resolve(f"ipns://{name_of(KEY)}", [server.url], None, clock=ManualClock()) == cid
    assert server.asked == [f"/ipns/{name_of(KEY)}?format=ipns-record"]


def test_a_name_that_leads_to_a_name_is_refused(scripted) -> None:
    server = scripted(200, record(path=f"/ipns/{name_of(KEY)}"))
    with pytest.raises(InvalidInput, match="expected the CID of a version"):
        resolve(f"/ipns/{name_of(KEY)}", [server.url], None, clock=ManualClock())


def test_a_real_kubos_names_and_records_are_read(kubo) -> None:
    cid = block_cid(RAW, b"pointed to")
    kubo.rpc.ensure_key("ipns-test")
    record = kubo.rpc.publish(f"/ipfs/{cid.text}", "ipns-test", lifetime_s=3600, ttl_s=60, offline=True)
    assert resolve(f"ipns://{record.name}", [kubo.gateway_url], None) == cid
    names = [
        kubo.run("cid", "format", "-b", base, record.name).decode().strip() for base in ("base36", "base32")
    ]
    peer = kubo.run("cid", "format", "-f", "%M", "-b", "base58btc", record.name).decode().strip()
    assert {parse_ipns_name(one) for one in (*names, peer.removeprefix("z"))} == {
        parse_ipns_name(record.name)
    }
