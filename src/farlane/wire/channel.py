"""TLS channels between a hub and its peers: the pinned key, the caller's token and gRPC's options."""

from __future__ import annotations

import asyncio
import hmac
import ssl
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from farlane.errors import InvalidInput, Unavailable, WrongHub
from farlane.kit.keys import spki_sha256
from farlane.wire.limits import MAX_MESSAGE_BYTES
from farlane.wire.tokens import Token

CONNECT_TIMEOUT_S = 10.0
CLIENT_PING_S = 20
"""How often a client or node asks whether the hub is still there."""
SERVER_MIN_PING_S = 10
"""Faster pings end the connection with too_many_pings: it must stay well below `CLIENT_PING_S`."""
PING_TIMEOUT_S = 10
MAX_STREAMS_PER_CONNECTION = 256
MAX_REQUEST_METADATA_BYTES = 16 * 1024
MAX_REPLY_METADATA_BYTES = 64 * 1024
"""Room for the error in a reply's trailing metadata."""

Options = tuple[tuple[str, int | str], ...]

_SHARED_OPTIONS: Options = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.default_compression_algorithm", 0),
    ("grpc.keepalive_time_ms", CLIENT_PING_S * 1000),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_S * 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
CLIENT_OPTIONS: Options = (
    *_SHARED_OPTIONS,
    ("grpc.max_metadata_size", MAX_REPLY_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_REPLY_METADATA_BYTES),
    # The key was pinned on a direct connection; a proxy from the environment would only be in the way.
    ("grpc.enable_http_proxy", 0),
    # Each channel its own connection: two tokens in one process must not share one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 10_000),
)
SERVER_OPTIONS: Options = (
    *_SHARED_OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", SERVER_MIN_PING_S * 1000),
    ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
    ("grpc.max_metadata_size", MAX_REQUEST_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_REQUEST_METADATA_BYTES),
    # Two hubs on one port would take turns in answering; the second must fail to start instead.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True)
class _Certificate:
    """A server's certificate as it was just presented."""

    pem: bytes
    name: str
    """A name that stands in it, to expect in the handshake; which one does not matter, since the key is pinned."""


def parse_url(url: str) -> tuple[str, int]:
    """Return host and port of a hub's URL such as `https://hub.example.org:7420` or `https://[::1]:7420`.

    Raises:
        InvalidInput: not such a URL.
    """
    example = "expected something like 'https://hub.example.org:7420', as `farlane up` prints it"
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"{url!r} is not a hub's URL ({error}); {example}") from error
    if parts.scheme == "http":
        raise InvalidInput(
            f"{url!r} is not encrypted, and a hub speaks only TLS; write https:// instead of http://"
        )
    if parts.scheme != "https" or not host or any(char.isspace() for char in host):
        raise InvalidInput(f"{url!r} is not a hub's URL; {example}")
    if not port:
        raise InvalidInput(f"{url!r} has no port; {example}")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidInput(f"{url!r} has more than host and port; {example}")
    return host, port


async def open_channel(
    url: str, token: Token, *, options: Sequence[tuple[str, int | str]] = ()
) -> grpc.aio.Channel:
    """Return a channel to the one hub whose key the token names; each call proves the caller by the token.

    The certificate is fetched first and its key compared; only then is the secret sent, and only to whoever holds
    that key. A hub that renewed its certificate while running again under the same key needs a new channel.

    Args:
        url: `https://host:port`.
        token: the key to expect and the secret to show.
        options: gRPC channel options that go before `CLIENT_OPTIONS`.

    Raises:
        InvalidInput: not a URL.
        Unavailable: nothing answers there, or what answers does not speak TLS.
        WrongHub: another key than the token's.
    """
    return await open_pinned_channel(url, token.spki_sha256, secret=token.secret, options=options)


async def open_pinned_channel(
    url: str, pin: bytes, *, secret: str = "", options: Sequence[tuple[str, int | str]] = ()
) -> grpc.aio.Channel:
    """Return a channel to whoever holds one TLS key; raises as `open_channel`.

    Args:
        url: `https://host:port`.
        pin: SHA-256 of the key, from a token or from the registry on chain.
        secret: shown on each call; empty for a service that asks for none.
        options: gRPC channel options that go before `CLIENT_OPTIONS`.
    """
    certificate = await _pinned_certificate(url, pin)
    credentials = grpc.ssl_channel_credentials(root_certificates=certificate.pem)
    if secret:
        credentials = grpc.composite_channel_credentials(
            credentials, grpc.access_token_call_credentials(secret)
        )
    host, port = parse_url(url)
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    override = (("grpc.ssl_target_name_override", certificate.name),)
    chosen = {name for name, _ in options}
    defaults = tuple(option for option in CLIENT_OPTIONS if option[0] not in chosen)
    return grpc.aio.secure_channel(target, credentials, options=(*override, *options, *defaults))


async def check_pin(url: str, pin: bytes) -> None:
    """Check that what answers at a URL holds one TLS key; raises as `open_channel`."""
    await _pinned_certificate(url, pin)


async def _pinned_certificate(url: str, pin: bytes) -> _Certificate:
    host, port = parse_url(url)
    certificate = await _fetch_certificate(host, port, url)
    found = spki_sha256(certificate.pem)
    if not hmac.compare_digest(found, pin):
        raise _wrong_hub(url, pin, found)
    return certificate


def server_credentials(cert_pem: bytes, key_pem: bytes) -> grpc.ServerCredentials:
    """Return the credentials a hub listens with; clients prove themselves by token, not by certificate."""
    return grpc.ssl_server_credentials([(key_pem, cert_pem)])


async def _fetch_certificate(host: str, port: int, url: str) -> _Certificate:
    # Nothing is trusted here: this only looks at the key before anything secret is said.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        raise Unavailable(
            f"{url}: something listens there, but it does not speak TLS ({error.reason or error}). Expected a farlane "
            "hub; check host and port",
            url=url,
        ) from error
    except TimeoutError as error:
        raise Unavailable(
            f"{url} did not answer within {CONNECT_TIMEOUT_S:g} s: check host, port and firewall", url=url
        ) from error
    except (OSError, UnicodeError) as error:
        raise Unavailable(
            f"cannot reach {url}: {getattr(error, 'strerror', None) or error}. Check that the hub runs there "
            "(`farlane up`) and that host and port are right",
            url=url,
        ) from error
    try:
        presented = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    return _read_certificate(presented or b"", url)


def _read_certificate(der: bytes, url: str) -> _Certificate:
    from cryptography import x509  # 0.1 s: only for those who connect

    try:
        certificate = x509.load_der_x509_certificate(der)
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise WrongHub(
            f"{url} shows a certificate that no farlane hub makes ({error}). Check host and port", url=url
        ) from error
    dns = extension.value.get_values_for_type(x509.DNSName)
    addresses = [str(address) for address in extension.value.get_values_for_type(x509.IPAddress)]
    name = next((name for name in (*dns, *addresses) if "*" not in name), "")
    return _Certificate(ssl.DER_cert_to_PEM_cert(der).encode(), name)


def _wrong_hub(url: str, expected: bytes, found: bytes) -> WrongHub:
    return WrongHub(
        f"the hub at {url} is not the one the token was made for.\n"
        f"  key in the token:  sha256 {expected.hex()}\n"
        f"  key of this hub:   sha256 {found.hex()}\n"
        "Either the URL leads to another hub, or this hub was set up anew, or somebody stands between. Nothing was "
        "sent. Check the URL, or ask the hub's operator for a new token and compare the key",
        url=url,
        expected=expected,
        found=found,
    )
