"""The key ring: named keys in one private directory, listed without opening them, and never overwritten."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from farlane.errors import Conflict, Corrupted, FarlaneError, InvalidInput, NotFound
from farlane.kit.file_lock import FileLock
from farlane.kit.files import atomic_write, fsync_directory, private_directory, read_private
from farlane.kit.new_files import write_new
from farlane.kit.suggestions import hint
from farlane.ledger.accounts import Address, PrivateKey, parse_address
from farlane.ledger.keyfile import address_in, seal, unseal
from farlane.ledger.passwords import Password

_ENDING = ".json"
_NAME = re.compile(r"(?!0x)[a-z0-9][a-z0-9_-]{0,63}")
_RETIRED = re.compile(_NAME.pattern + r"\.retired-\d{4}-\d{2}-\d{2}(-\d+)?")


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What can be said of a key without opening it.

    address: as the file says it, None where it cannot be read; retired: replaced by a rotation; problem: why the file
    cannot be used, empty if nothing speaks against it.
    """

    name: str
    address: Address | None
    path: Path
    retired: bool
    problem: str = ""


class KeyRing:
    """The keys of one directory, a key file `NAME.json` each (0600), with the directory closed to others (0700).

    Args:
        directory: made when the first key is.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self, name: str, password: Password) -> PrivateKey:
        """Make a new random key.

        Raises:
            InvalidInput: the name is not one, or the password is too short.
            Conflict: there is a key of this name.
            PermissionRefused: the directory is open to others.
            DiskFull: it cannot be written.
        """
        return self.add(name, PrivateKey.generate(), password)

    def add(self, name: str, key: PrivateKey, password: Password) -> PrivateKey:
        """Keep a key that exists already; returns it. Raises as `create`."""
        self.check_free(name)  # before the second that sealing takes
        private_directory(self.directory)
        self._write_new(self._path(name), seal(key, password))
        return key

    def check_free(self, name: str) -> None:
        """Refuse a name that no new key can have.

        Raises:
            InvalidInput: it is not one.
            Conflict: there is a key of this name.
        """
        path = self._path(check_key_name(name))
        if os.path.lexists(path):
            raise _taken(path)

    def import_file(self, name: str, file: Path, file_password: Password, password: Password) -> PrivateKey:
        """Keep the key of a key file from elsewhere, sealed anew under a password of this ring.

        Raises:
            NotFound: there is no such file.
            PermissionRefused: others may read the file.
            InvalidInput, Unauthenticated, Corrupted, TooLarge: as `farlane.ledger.keyfile.unseal`.
            Conflict, DiskFull: as `create`.
        """
        check_key_name(name)
        return self.add(name, unseal(_read(file), file_password, str(file)), password)

    def export_file(self, name: str, password: Password, file: Path, file_password: Password) -> Address:
        """Write a key to a new key file elsewhere (0600) under a password of its own.

        Raises:
            Conflict: something stands where the file should go.
            NotFound, Unauthenticated, Corrupted: as `open`.
        """
        if os.path.lexists(file):
            raise _taken(file)
        key = self.open(name, password)
        self._write_new(file, seal(key, file_password))
        return key.address

    def open(self, name: str, password: Password) -> PrivateKey:
        """Open a key by name or address.

        Raises:
            NotFound: there is none.
            Unauthenticated: the password is wrong.
            Corrupted, InvalidInput: its file is damaged, was exchanged, or is no key file.
            PermissionRefused: others may read or exchange it.
        """
        found = self.find(name)
        key = unseal(_read(found.path), password, str(found.path))
        if key.address != found.address:
            raise Corrupted(
                f"{found.path} holds the key of {key.address}, which it does not say: it was exchanged or changed; "
                "restore it from a backup, or bring it in by `farlane key import`",
                path=str(found.path),
            )
        return key

    def find(self, name: str) -> KeyInfo:
        """Return one key by name or address, without opening it.

        Raises:
            NotFound: there is none.
            InvalidInput: it is neither a name nor an address, or the file is no key file.
            PermissionRefused, Corrupted: the file cannot be used.
        """
        if name.lower().startswith("0x"):
            return self._by_address(parse_address(name))
        if not (_NAME.fullmatch(name) or _RETIRED.fullmatch(name)):
            check_key_name(name)
        path = self._path(name)
        if not os.path.lexists(path):
            known = hint(name, [one.name for one in self.list_keys()])
            raise NotFound(f"there is no key {name!r} in {self.directory}; {known}", key=name)
        address = address_in(_read(path), str(path))
        if address is None:
            raise _nameless(path)
        return KeyInfo(name, address, path, retired=_RETIRED.fullmatch(name) is not None)

    def list_keys(self) -> list[KeyInfo]:
        """List the keys by name, those in use first; a damaged file is listed with its problem."""
        found = [self._info(path) for path in self._files()]
        return sorted(found, key=lambda one: (one.retired, one.name))

    def rotate(self, name: str, password: Password) -> tuple[PrivateKey, KeyInfo]:
        """Put a new random key in the place of one; the old one is kept as `NAME.retired-DATE`, under its password.

        At no moment, whatever crashes, is one of the two lost or the name without a key.

        Returns:
            The new key, and where the old one is.

        Raises:
            NotFound: there is no key of this name.
            Conflict: another process rotates a key of this directory.
            InvalidInput: the name is not one, or the password is too short.
            DiskFull: it cannot be written; the old key stays.
        """
        path = self._path(check_key_name(name))
        old = self.find(name)
        with FileLock(private_directory(self.directory) / ".lock"):
            key = PrivateKey.generate()
            sealed = seal(key, password)
            retired = self._keep_as_retired(path, name)
            atomic_write(path, sealed)
        return key, KeyInfo(retired.name.removesuffix(_ENDING), old.address, retired, retired=True)

    def _keep_as_retired(self, path: Path, name: str) -> Path:
        date = time.strftime("%Y-%m-%d", time.gmtime())
        retired, number = self._path(f"{name}.retired-{date}"), 1
        while os.path.lexists(retired):
            number += 1
            retired = self._path(f"{name}.retired-{date}-{number}")
        os.link(path, retired, follow_symlinks=False)
        fsync_directory(self.directory)
        return retired

    def _by_address(self, address: Address) -> KeyInfo:
        for one in self.list_keys():
            if one.address == address:
                return one
        raise NotFound(f"there is no key of {address} in {self.directory}: see `farlane key ls`", key=address)

    def _info(self, path: Path) -> KeyInfo:
        name = path.name.removesuffix(_ENDING)
        retired = _RETIRED.fullmatch(name) is not None
        try:
            address = address_in(_read(path), str(path))
        except FarlaneError as error:
            return KeyInfo(name, None, path, retired, error.message)
        return KeyInfo(name, address, path, retired, "" if address else _nameless(path).message)

    def _files(self) -> Iterator[Path]:
        if not self.directory.is_dir():
            return
        for path in self.directory.iterdir():
            name = path.name.removesuffix(_ENDING)
            if name != path.name and (_NAME.fullmatch(name) or _RETIRED.fullmatch(name)):
                yield path

    def _path(self, name: str) -> Path:
        return self.directory / (name + _ENDING)

    def _write_new(self, path: Path, sealed: bytes) -> None:
        try:
            write_new(path, sealed)
        except FileExistsError:
            raise _taken(path) from None
        except FileNotFoundError:
            raise NotFound(f"there is no directory {path.parent}: make it first", path=str(path)) from None


def keys_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Return where a person's keys are: FARLANE_KEYS, else `farlane/keys` below the XDG configuration directory."""
    known = os.environ if environ is None else environ
    if given := known.get("FARLANE_KEYS"):
        return Path(given).expanduser()
    configuration = known.get("XDG_CONFIG_HOME", "")
    # Source: XDG Base Directory Specification: a relative path is to be ignored.
    root = Path(configuration) if configuration.startswith("/") else Path.home() / ".config"
    return root / "farlane" / "keys"


def check_key_name(name: str) -> str:
    """Return a name that a key may have.

    Raises:
        InvalidInput: it is not one.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name[:80]!r} is no name for a key; expected up to 64 of a-z, 0-9, - and _, not beginning with 0x",
            key=name,
        )
    return name


def _read(path: Path) -> bytes:
    try:
        return read_private(path)
    except FileNotFoundError:
        raise NotFound(f"there is no key file {path}: check the path", path=str(path)) from None


def _taken(path: Path) -> Conflict:
    return Conflict(f"{path} is there already and is never overwritten: choose another name", path=str(path))


def _nameless(path: Path) -> Corrupted:
    return Corrupted(
        f"{path} does not say whose key it is: bring it in by `farlane key import NAME FILE`", path=str(path)
    )
