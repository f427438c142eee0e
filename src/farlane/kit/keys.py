"""The TLS key and certificate of a server, the hash that pins its key, and random secrets."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from farlane.errors import Corrupted, InvalidInput
from farlane.kit.clock import Clock, SystemClock
from farlane.kit.files import atomic_write, private_directory, read_private

if TYPE_CHECKING:  # cryptography takes 0.1 s to import: only those who touch keys pay for it
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KEY_FILE = "server.key"
CERTIFICATE_FILE = "server.crt"
VALID_DAYS = 3650
RENEW_DAYS = 30
_BACKDATED_DAYS = 1  # a peer whose clock is a little behind must not refuse a fresh certificate


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A server's self-signed certificate and its private key, both PEM."""

    certificate_path: Path
    key_path: Path
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    spki_sha256: bytes
    """What a join token carries: it stays the same when the certificate is renewed."""


def random_secret(size_bytes: int = 32) -> str:
    """Return a secret of `size_bytes` random bytes as URL-safe base64 without padding."""
    return secrets.token_urlsafe(size_bytes)


def spki_sha256(certificate_pem: bytes) -> bytes:
    """Return the SHA-256 of a certificate's SubjectPublicKeyInfo (DER): it pins the key, not the rest.

    Source: RFC 7469, section 2.4.

    Raises:
        InvalidInput: if `certificate_pem` is not a certificate.
    """
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise InvalidInput(
            f"not a certificate: {error}; expected PEM text beginning with BEGIN CERTIFICATE"
        ) from error
    return hashlib.sha256(_spki(certificate)).digest()


def server_certificate(
    directory: Path, names: Iterable[str], clock: Clock | None = None
) -> ServerCertificate:
    """Return the server's key and certificate, made on first use and then kept.

    The certificate is renewed with the same key when it lacks a name or nears its end, so that pins hold.

    Args:
        directory: where both files live; made with mode 0700.
        names: DNS names and IP addresses the server answers to.
        clock: tells the validity.

    Raises:
        InvalidInput: if there is no name.
        PermissionRefused: if others can read the key.
        Corrupted: if the key file is not a P-256 key; it is never replaced on its own, for peers pin it.
        DiskFull: if the files cannot be written.
    """
    wanted = tuple(dict.fromkeys(names))
    if not wanted:
        raise InvalidInput("a server certificate needs a name: give at least one DNS name or IP address")
    private_directory(directory)
    key_path, certificate_path = directory / KEY_FILE, directory / CERTIFICATE_FILE
    key = _load_or_make_key(key_path)
    now = datetime.datetime.fromtimestamp((clock or SystemClock()).now(), datetime.UTC)
    certificate_pem = certificate_path.read_bytes() if certificate_path.exists() else b""
    if not _still_good(certificate_pem, key, wanted, now):
        certificate_pem = _self_sign(key, wanted, now)
        atomic_write(certificate_path, certificate_pem, 0o644)
    return ServerCertificate(
        certificate_path=certificate_path,
        key_path=key_path,
        certificate_pem=certificate_pem,
        key_pem=read_private(key_path),
        spki_sha256=spki_sha256(certificate_pem),
    )


def _load_or_make_key(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        pem = read_private(path)
    except FileNotFoundError:
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        atomic_write(path, pem, 0o600)
        return made
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise _bad_key(path) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_key(path)
    return key


def _bad_key(path: Path) -> Corrupted:
    return Corrupted(
        f"{path} is not an unencrypted P-256 private key in PEM: restore it from a backup, or remove it "
        "to make a new one (every peer that pinned the old key must then join again)",
        path=str(path),
    )


def _still_good(
    certificate_pem: bytes, key: EllipticCurvePrivateKey, names: tuple[str, ...], now: datetime.datetime
) -> bool:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    return (
        certificate.public_key() == key.public_key()
        and all(name in alternatives for name in _general_names(names))
        and certificate.not_valid_before_utc <= now
        and now + datetime.timedelta(days=RENEW_DAYS) < certificate.not_valid_after_utc
    )


def _self_sign(key: EllipticCurvePrivateKey, names: tuple[str, ...], now: datetime.datetime) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "farlane")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=_BACKDATED_DAYS))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        # Not a CA: with its key one can be this server and sign for nobody else.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_signing_only(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _signing_only() -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(names: tuple[str, ...]) -> list[x509.GeneralName]:
    from cryptography import x509

    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    return general


def _spki(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
