"""Passwords of key files: from a prompt, a private file, a systemd credential, or made at random for a machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import secrets
import stat
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from farlane.errors import Corrupted, InvalidInput, NotFound, PermissionRefused, Unauthenticated
from farlane.kit.files import open_regular, private_directory, read_private
from farlane.kit.new_files import write_new

PASSWORD_FILE_VARIABLE = "FARLANE_KEY_PASSWORD_FILE"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
CREDENTIAL = "farlane-key-password"
"""Name of the systemd credential: `LoadCredentialEncrypted=farlane-key-password:FILE` in a unit."""
MACHINE_FILE = "password"
MIN_CHARACTERS = 8
"""Least length of a password that somebody chooses. Source: NIST SP 800-63B, section 5.1.1.2."""
_MAX_BYTES = 4096
_RANDOM_BYTES = 32
_MACHINE = re.compile(rb"[0-9a-f]{64}")


class Password:
    """A password that shows itself nowhere but in `secret`.

    Args:
        secret: its bytes, UTF-8 where somebody typed it.
        random: whether farlane made it of 256 random bits; then a key file needs no slow key derivation.
    """

    __slots__ = ("random", "secret")

    def __init__(self, secret: bytes, *, random: bool = False) -> None:
        self.secret = secret
        self.random = random

    def __repr__(self) -> str:
        """Name who made it, nothing else."""
        return f"Password({'random' if self.random else 'chosen'})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise InvalidInput("a password cannot be pickled or copied: pass the name of the file that holds it")


def prompt_password(what: str, *, new: bool = False) -> Password:
    """Ask for a password on the terminal, without showing it.

    Args:
        what: whose password, such as `key 'cold'`.
        new: ask twice and refuse short ones, since a typing error would lock the key for ever.

    Raises:
        Unauthenticated: there is no terminal to ask on, or nothing was typed.
        InvalidInput: the two differ, or it is too short.
    """
    typed = _ask(f"{'New password' if new else 'Password'} of {what}: ")
    if new:
        check_chosen(typed.encode())
        if _ask("The same again: ") != typed:
            raise InvalidInput("the two passwords differ; nothing was written. Try again")
    return Password(_unempty(typed.encode(), "what was typed"))


def check_chosen(secret: bytes) -> None:
    """Check the length of a new password that somebody chose.

    Raises:
        InvalidInput: below `MIN_CHARACTERS`.
    """
    length = len(secret.decode(errors="replace"))
    if length < MIN_CHARACTERS:
        raise InvalidInput(
            f"the password has {length} characters; expected at least {MIN_CHARACTERS}, better a sentence"
        )


def file_password(path: Path) -> Password:
    """Read a password from a file of ours, mode 0600 or 0400; one newline at its end does not count.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no regular file, empty, or too long for a password.
        PermissionRefused: it belongs to another user, or others may open it.
    """
    try:
        return Password(_without_newline(read_private(path), path))
    except FileNotFoundError:
        raise NotFound(f"there is no password file {path}: check the path", path=str(path)) from None


def credential_password(directory: Path, name: str = CREDENTIAL) -> Password:
    """Read a password that systemd handed to its service.

    systemd keeps these files as root and lets the service in by an access list, which shows as a readable group:
    so they are judged by other rules than `file_password`.

    Raises:
        NotFound: the service was given no such credential.
        InvalidInput: it is no regular file, empty, or too long for a password.
        PermissionRefused: neither root's nor ours, or open to everybody.
    """
    path = directory / name
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        raise NotFound(
            f"there is no credential {name!r} in {directory}: add `LoadCredential={name}:FILE` to the unit",
            path=str(path),
        ) from None
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
            raise PermissionRefused(
                f"{path} is no credential of systemd (owner {status.st_uid}, mode "
                f"{stat.S_IMODE(status.st_mode):04o}): expected owner root or {os.geteuid()}, closed to others",
                path=str(path),
            )
        return Password(_without_newline(stream.read(_MAX_BYTES + 3), path))


def find_password(file: Path | None = None, environ: Mapping[str, str] | None = None) -> Password | None:
    """Return the password that is there without asking: `file`, FARLANE_KEY_PASSWORD_FILE, systemd's credential.

    Returns:
        None if none of the three is given. One that is given but cannot be read is an error, never passed over.

    Raises:
        NotFound, InvalidInput, PermissionRefused: as `file_password` and `credential_password`.
    """
    known = os.environ if environ is None else environ
    if file is not None:
        return file_password(file)
    if named := known.get(PASSWORD_FILE_VARIABLE):
        return file_password(Path(named).expanduser())
    credentials = known.get(CREDENTIALS_VARIABLE)
    if credentials and (Path(credentials) / CREDENTIAL).exists():
        return credential_password(Path(credentials))
    return None


def machine_password(directory: Path) -> Password:
    """Return the password by which a hub or node opens its own keys: 256 random bits in a file beside them, made once.

    It protects a key file that is copied without it, such as in a backup; whoever reads the directory has both.

    Raises:
        Corrupted: the file holds something else.
        PermissionRefused: others may read the file or the directory.
        DiskFull: a new one cannot be written.
    """
    path = private_directory(directory) / MACHINE_FILE
    with contextlib.suppress(FileNotFoundError):
        return _machine_password(path)
    with contextlib.suppress(FileExistsError):  # another process made it in this moment: theirs counts
        write_new(path, secrets.token_hex(_RANDOM_BYTES).encode() + b"\n")
    return _machine_password(path)


def _machine_password(path: Path) -> Password:
    secret = read_private(path).removesuffix(b"\n")
    if _MACHINE.fullmatch(secret) is None:
        raise Corrupted(
            f"{path} is not a password that farlane made; expected {2 * _RANDOM_BYTES} hex digits. Restore it from a "
            "backup: the keys beside it cannot be opened without it",
            path=str(path),
        )
    return Password(secret, random=True)


def _ask(prompt: str) -> str:
    try:
        with warnings.catch_warnings():
            # getpass would go on and show what is typed, or read a pipe.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(prompt)
    except (getpass.GetPassWarning, EOFError):
        raise Unauthenticated(
            f"a password is needed, but there is no terminal to ask on: pass --password-file FILE, or set "
            f"{PASSWORD_FILE_VARIABLE}"
        ) from None


def _without_newline(content: bytes, path: Path) -> bytes:
    secret = content.removesuffix(b"\n").removesuffix(b"\r")
    if len(secret) > _MAX_BYTES:
        raise InvalidInput(
            f"{path} is too long for a password; expected at most {_MAX_BYTES} bytes", path=str(path)
        )
    return _unempty(secret, str(path))


def _unempty(secret: bytes, source: str) -> bytes:
    if not secret:
        raise InvalidInput(f"{source} is empty; expected a password")
    return secret
