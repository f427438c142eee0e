"""The server's key is made once, stays private and keeps its pin."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from farlane.errors import Corrupted, InvalidInput, PermissionRefused
from farlane.kit.clock import ManualClock
from farlane.kit.files import atomic_write
from farlane.kit.keys import (
    CERTIFICATE_FILE,
    KEY_FILE,
    VALID_DAYS,
    random_secret,
    server_certificate,
    spki_sha256,
)

NAMES = ("localhost", "127.0.0.1", "::1")
DAY_S = 86_400


def certificate_of(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def alternatives(pem: bytes) -> x509.SubjectAlternativeName:
    return certificate_of(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def handshake(server_files: Path, trusted_pem: bytes, name: str) -> bytes:
    """Run a TLS handshake in memory and return the server's certificate (DER) as the client saw it."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(server_files / CERTIFICATE_FILE, server_files / KEY_FILE)
    client_context = ssl.create_default_context(cadata=trusted_pem.decode())
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    seen = client.getpeercert(binary_form=True)
    assert seen is not None
    return seen


def test_it_is_made_once(tmp_path: Path) -> None:
    first = server_certificate(tmp_path / "tls", NAMES)
    assert server_certificate(tmp_path / "tls", NAMES) == first
    assert sorted(os.listdir(tmp_path / "tls")) == [CERTIFICATE_FILE, KEY_FILE]


def test_the_key_is_private_and_p256(tmp_path: Path) -> None:
    made = server_certificate(tmp_path / "tls", NAMES)
    assert stat.S_IMODE(made.key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    key = serialization.load_pem_private_key(made.key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert "PRIVATE" not in repr(made)


def test_names_become_dns_and_ip_alternatives(tmp_path: Path) -> None:
    found = alternatives(server_certificate(tmp_path, [*NAMES, "localhost"]).certificate_pem)
    assert found.get_values_for_type(x509.DNSName) == ["localhost"]
    assert found.get_values_for_type(x509.IPAddress) == list(map(ipaddress.ip_address, NAMES[1:]))


def test_the_pin_is_the_hash_of_the_public_key_info(tmp_path: Path) -> None:
    made = server_certificate(tmp_path, NAMES)
    key = serialization.load_pem_private_key(made.key_pem, password=None)
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert made.spki_sha256 == spki_sha256(made.certificate_pem) == hashlib.sha256(der).digest()


@pytest.mark.parametrize("name", NAMES)
def test_a_strict_tls_client_that_trusts_it_connects(tmp_path: Path, name: str) -> None:
    made = server_certificate(tmp_path, NAMES)
    assert handshake(tmp_path, made.certificate_pem, name) == ssl.PEM_cert_to_DER_cert(
        made.certificate_pem.decode()
    )


def test_a_tls_client_refuses_another_name_and_another_key(tmp_path: Path) -> None:
    made = server_certificate(tmp_path / "one", NAMES)
    other = server_certificate(tmp_path / "other", NAMES)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path / "one", made.certificate_pem, "example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path / "one", other.certificate_pem, "localhost")


def test_a_new_name_renews_the_certificate_and_keeps_the_pin(tmp_path: Path) -> None:
    old = server_certificate(tmp_path, NAMES)
    new = server_certificate(tmp_path, [*NAMES, "hub.example.org"])
    assert "hub.example.org" in alternatives(new.certificate_pem).get_values_for_type(x509.DNSName)
    assert new.certificate_pem != old.certificate_pem
    assert (new.spki_sha256, new.key_pem) == (old.spki_sha256, old.key_pem)


def test_fewer_names_keep_the_certificate(tmp_path: Path) -> None:
    old = server_certificate(tmp_path, NAMES)
    assert server_certificate(tmp_path, ["localhost"]) == old


def test_a_certificate_near_its_end_is_renewed_with_the_same_key(tmp_path: Path) -> None:
    clock = ManualClock()
    old = server_certificate(tmp_path, NAMES, clock)
    clock.advance((VALID_DAYS - 31) * DAY_S)
    assert server_certificate(tmp_path, NAMES, clock) == old
    clock.advance(2 * DAY_S)
    new = server_certificate(tmp_path, NAMES, clock)
    assert new.spki_sha256 == old.spki_sha256
    assert certificate_of(new.certificate_pem).not_valid_after_utc > datetime.datetime.fromtimestamp(
        clock.now() + 3649 * DAY_S, datetime.UTC
    )


def test_a_certificate_from_the_future_is_renewed(tmp_path: Path) -> None:
    clock = ManualClock()
    old = server_certificate(tmp_path, NAMES, clock)
    clock.step_wall(-30 * DAY_S)
    assert server_certificate(tmp_path, NAMES, clock).certificate_pem != old.certificate_pem


def test_a_certificate_of_another_key_is_replaced(tmp_path: Path) -> None:
    stranger = server_certificate(tmp_path / "other", NAMES)
    own = server_certificate(tmp_path / "own", NAMES)
    own.certificate_path.write_bytes(stranger.certificate_pem)
    assert server_certificate(tmp_path / "own", NAMES).spki_sha256 == own.spki_sha256


def test_a_broken_certificate_is_replaced(tmp_path: Path) -> None:
    own = server_certificate(tmp_path, NAMES)
    own.certificate_path.write_bytes(b"rubbish")
    assert server_certificate(tmp_path, NAMES).spki_sha256 == own.spki_sha256


def test_a_key_open_to_others_is_refused(tmp_path: Path) -> None:
    server_certificate(tmp_path, NAMES).key_path.chmod(0o644)
    with pytest.raises(PermissionRefused, match="chmod 600"):
        server_certificate(tmp_path, NAMES)


@pytest.mark.parametrize("kind", ["rubbish", "other curve", "other algorithm", "encrypted"])
def test_a_bad_key_is_never_replaced(tmp_path: Path, kind: str) -> None:
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = ec.generate_private_key(ec.SECP384R1())
    if kind == "other algorithm":
        key = ed25519.Ed25519PrivateKey.generate()
    secrecy: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if kind == "encrypted":
        secrecy = serialization.BestAvailableEncryption(b"password")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secrecy)
    content = b"rubbish" if kind == "rubbish" else pem
    atomic_write(tmp_path / KEY_FILE, content, 0o600)
    with pytest.raises(Corrupted, match="not an unencrypted P-256 private key"):
        server_certificate(tmp_path, NAMES)
    assert (tmp_path / KEY_FILE).read_bytes() == content


def test_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        server_certificate(tmp_path, [])


def test_no_certificate_has_no_pin() -> None:
    with pytest.raises(InvalidInput, match="BEGIN CERTIFICATE"):
        spki_sha256(b"rubbish")


def test_secrets_are_long_and_never_twice() -> None:
    made = {random_secret() for _ in range(100)}
    assert len(made) == 100
    assert {len(secret) for secret in made} == {43}
    assert len(random_secret(16)) == 22
