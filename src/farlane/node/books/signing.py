"""The node's own key: made once, known by its address at once, opened only when there is something to sign."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from farlane.errors import FarlaneError, InvalidSetting, NotFound
from farlane.kit.files import open_regular
from farlane.ledger.accounts import Address, PrivateKey, parse_address
from farlane.ledger.delegations import MAX_BYTES, SignedDelegation, delegation_from_json, verify_delegation
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import machine_password
from farlane.ledger.typed_data import Domain
from farlane.wire.books import NodeAccount

log = logging.getLogger(__name__)

KEY_NAME = "node"
KEYS_DIRECTORY = "keys"


@dataclass(slots=True)
class HeadKey:
    """Who signs tree heads and who is paid.

    directory: of the key ring; address: of the node's key; delegation: by which another account is paid; key: the
    key itself, None until it was opened.
    """

    directory: Path
    address: Address
    delegation: SignedDelegation | None = None
    key: PrivateKey | None = None
    _expired: bool = False

    @property
    def provider(self) -> Address:
        """Return who is paid."""
        return self.address if self.delegation is None else self.delegation.delegation.provider

    @property
    def domain(self) -> Domain | None:
        """Return where the delegation counts; None without one."""
        return None if self.delegation is None else self.delegation.domain

    @property
    def account(self) -> NodeAccount:
        """Return who the node is on the ledger, for its hello."""
        if self.delegation is None:
            return NodeAccount(self.address, self.address)
        signed = self.delegation
        return NodeAccount(self.address, self.provider, signed.delegation.expires, signed.signature)

    def signing_key(self, now: float) -> PrivateKey | None:
        """Return the key if it is open and may sign at `now`, unix seconds."""
        signed = self.delegation
        if signed is not None and signed.delegation.expires <= now:
            if not self._expired:
                log.error(
                    "the delegation of %s has expired: nothing is signed until `farlane key delegate` has made "
                    "another and the node was started with it",
                    self.provider,
                )
            self._expired = True
            return None
        return self.key

    async def unlock(self) -> None:
        """Open the key, in a thread: the libraries for that are slow to load."""
        if self.key is None:
            try:
                self.key = await asyncio.to_thread(_open, self.directory)
            except FarlaneError as error:
                log.error(
                    "the node's key cannot be opened, so that no heads are signed and nothing is paid: %s",
                    error.message,
                )


def load_head_key(
    directory: Path, provider: str | None = None, delegation: Path | None = None, now: float = 0.0
) -> HeadKey:
    """Return the key of a node's directory, made if there is none; blocks.

    Args:
        directory: of the node.
        provider: who is to be paid, if not the node's own key.
        delegation: file in which that provider lets this key sign.
        now: unix seconds.

    Raises:
        InvalidSetting: the provider is no address, or has not let this key sign.
        InvalidSignature: the delegation is another key's, or has expired.
        NotFound, InvalidInput, Corrupted, PermissionRefused, DiskFull: a file cannot be used.
    """
    ring = KeyRing(directory / KEYS_DIRECTORY)
    try:
        found = HeadKey(ring.directory, _address_of(ring))
    except NotFound:
        key = ring.create(KEY_NAME, machine_password(ring.directory))
        found = HeadKey(ring.directory, key.address, key=key)
        log.info("made the node's key: its address is %s", key.address)
    if delegation is not None:
        found.delegation = read_delegation(delegation, found.address, now)
    _check_provider(found, provider)
    return found


def _address_of(ring: KeyRing) -> Address:
    info = ring.find(KEY_NAME)
    assert info.address is not None  # `find` refuses a key file without one
    return info.address


def _open(directory: Path) -> PrivateKey:
    return KeyRing(directory).open(KEY_NAME, machine_password(directory))


def read_delegation(path: Path, key: Address, now: float) -> SignedDelegation:
    """Read the file of `node.delegation`, by which a provider lets a key sign.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no delegation.
        InvalidSignature: it is another key's, or has expired at `now`, unix seconds.
    """
    try:
        with open(open_regular(path), "rb") as stream:
            signed = delegation_from_json(stream.read(MAX_BYTES + 1))
    except FileNotFoundError:
        raise NotFound(f"node.delegation: there is no file {path}: check the path", path=str(path)) from None
    verify_delegation(signed, signed.domain, key, now)
    return signed


def _check_provider(found: HeadKey, provider: str | None) -> None:
    if provider is None:
        return
    wanted = parse_address(provider)
    if wanted != found.provider:
        raise InvalidSetting(
            f"node.provider is {wanted}, but {found.provider} is whom this node's key may sign for: run `farlane key "
            f"delegate NAME {found.address}` with that provider's key and set node.delegation to the file it writes"
        )
