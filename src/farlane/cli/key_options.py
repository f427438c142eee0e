"""Options of every command that signs: which key, and where its password comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farlane.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from farlane.ledger.accounts import PrivateKey
    from farlane.ledger.keystore import KeyRing
    from farlane.ledger.passwords import Password

F = TypeVar("F", bound=Callable[..., Any])
UNSAFE_VARIABLE = "FARLANE_UNSAFE_KEY"


def password_option(command: F) -> F:
    """Add `--password-file`."""
    return click.option(
        "--password-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Read the key's password from this file (0600 or 0400) "
        "[or FARLANE_KEY_PASSWORD_FILE, or systemd's credential farlane-key-password; else it is asked for].",
    )(command)


def unsafe_option(command: F) -> F:
    """Add `--unsafe-key-from-environment`."""
    return click.option(
        "--unsafe-key-from-environment",
        "unsafe",
        is_flag=True,
        help=f"For CI with worthless keys alone: take the raw key from {UNSAFE_VARIABLE}; the key is named by address.",
    )(command)


def key_ring() -> KeyRing:
    """Return the keys of whoever types."""
    from farlane.ledger.keystore import KeyRing, keys_directory

    return KeyRing(keys_directory())


def known_password(name: str, file: Path | None) -> Password:
    """Return the password of a key that exists; asked for on the terminal where nothing else gives it.

    Raises:
        NotFound, InvalidInput, PermissionRefused, Unauthenticated: as `farlane.ledger.passwords`.
    """
    from farlane.ledger.passwords import find_password, prompt_password

    return find_password(file) or prompt_password(f"key {name}")


def new_password(name: str, file: Path | None) -> Password:
    """Return the password that a new key will have; raises as `known_password`."""
    from farlane.ledger.passwords import find_password, prompt_password

    return find_password(file) or prompt_password(f"key {name}", new=True)


def signing_key(name: str, password_file: Path | None, unsafe: bool = False) -> PrivateKey:
    """Open the key that a command signs with.

    Args:
        name: its name or address in the key ring.
        password_file: what `--password-file` said.
        unsafe: what `--unsafe-key-from-environment` said.

    Raises:
        NotFound: no such key; nothing is asked then.
        Unauthenticated, Corrupted, InvalidInput, PermissionRefused: as `farlane.ledger.keystore.KeyRing.open`.
    """
    if unsafe:
        return _unsafe_key(name, os.environ)
    ring = key_ring()
    ring.find(name)
    return ring.open(name, known_password(name, password_file))


def _unsafe_key(name: str, environ: MutableMapping[str, str]) -> PrivateKey:
    from farlane.ledger.accounts import PrivateKey, parse_address

    # Taken out, so that no process started from here inherits it.
    text = environ.pop(UNSAFE_VARIABLE, "").strip()
    if not text:
        raise NotFound(f"--unsafe-key-from-environment needs a key in {UNSAFE_VARIABLE}; it is not set")
    raw = _hex(text)
    if raw is None:
        raise InvalidInput(f"{UNSAFE_VARIABLE} does not hold a key; expected 64 hex digits")
    key = PrivateKey.from_bytes(raw)
    if key.address != parse_address(name):
        raise InvalidInput(f"{UNSAFE_VARIABLE} holds the key of {key.address}, not of {name}")
    return key


def _hex(text: str) -> bytes | None:
    # Apart, so that no error in flight has the key in its words.
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        return None
