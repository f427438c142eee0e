"""The protocol version this farlane speaks and which versions of a peer it accepts."""

from __future__ import annotations

import functools
import importlib.metadata

from farlane.errors import UnsupportedVersion
from farlane.wire.v1 import types_pb2

PROTOCOL_MAJOR = 1
"""Peers of another major version cannot talk to each other."""
PROTOCOL_MINOR = 1
"""Minors only add; one minor back is still spoken, and a newer minor speaks ours."""
_MINORS_BACK = 1
_SHOWN_CHARS = 40


def this_version() -> types_pb2.Version:
    """Return the version that opens every stream."""
    return types_pb2.Version(major=PROTOCOL_MAJOR, minor=PROTOCOL_MINOR, software=_software())


def check_peer(version: types_pb2.Version) -> None:
    """Accept a peer's version or say which side to upgrade.

    Raises:
        UnsupportedVersion: another major version, a minor that is too old, or no version at all.
    """
    oldest = max(0, PROTOCOL_MINOR - _MINORS_BACK)
    if version.major == PROTOCOL_MAJOR and version.minor >= oldest:
        return
    if version.major == 0 and version.minor == 0:
        raise _refusal(
            version, "the peer did not say which protocol version it speaks; is it farlane at all?"
        )
    theirs = f"{version.major}.{version.minor}"
    if (version.major, version.minor) < (PROTOCOL_MAJOR, oldest):
        raise _refusal(
            version, f"the peer speaks protocol {theirs}, which is too old: upgrade farlane on the peer"
        )
    raise _refusal(
        version, f"the peer speaks protocol {theirs}, which is newer: upgrade farlane on this side"
    )


def _refusal(version: types_pb2.Version, what: str) -> UnsupportedVersion:
    software = version.software[:_SHOWN_CHARS]
    oldest = max(0, PROTOCOL_MINOR - _MINORS_BACK)
    return UnsupportedVersion(
        f"{what}. This side ({_software()}) speaks {PROTOCOL_MAJOR}.{PROTOCOL_MINOR} and accepts "
        f"{PROTOCOL_MAJOR}.{oldest} and every later {PROTOCOL_MAJOR}.x"
        + (f"; the peer runs {software!r}" if software else ""),
        major=version.major,
        minor=version.minor,
        ours=f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}",
    )


@functools.cache
def _software() -> str:
    try:
        return f"farlane {importlib.metadata.version('farlane')}"
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "farlane (source tree)"
