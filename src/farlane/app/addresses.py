"""Addresses: how a hub that listens on some address is reached, and which names its certificate carries."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

import psutil

LOCAL = "localhost"
_ANYWHERE = ("192.0.2.1", 9)
"""Source: RFC 5737, an address for documentation. Nothing is sent there; only the route is looked up."""


def url_of(host: str, port: int) -> str:
    """Return a hub's URL."""
    return f"https://{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def outward_host(host: str) -> str:
    """Return how other machines reach a hub that listens on `host`.

    For every address at once (`0.0.0.0`, `::`) that is this machine's primary address, else its name.
    """
    return primary_address() or socket.gethostname() if _is_unspecified(host) else host


def local_host(host: str) -> str:
    """Return how this machine reaches a hub that listens on `host`."""
    if not _is_unspecified(host):
        return host
    return LOCAL if ":" in host else "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Tell whether a hub that listens on `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == LOCAL


def certificate_names(host: str) -> list[str]:
    """Return the names and addresses a hub that listens on `host` answers to."""
    if not _is_unspecified(host):
        return [host.strip("[]"), LOCAL]
    names = [name for name in (socket.gethostname(), socket.getfqdn()) if name and name.isascii()]
    return list(dict.fromkeys([LOCAL, *names, "127.0.0.1", *_addresses()]))


def primary_address() -> str | None:
    """Return the address from which this machine reaches others, None where it reaches none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_ANYWHERE)  # a datagram socket: this chooses the route and sends nothing
        return str(probe.getsockname()[0])
    return next(iter(_addresses()), None)


def _addresses() -> list[str]:
    """Return the addresses of this machine that others may reach, IPv4 first."""
    found = [
        ipaddress.ip_address(entry.address)
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6) and "%" not in entry.address
    ]
    outside = [address for address in found if not address.is_loopback and not address.is_link_local]
    return [str(address) for address in sorted(outside, key=lambda address: address.version)]


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False
