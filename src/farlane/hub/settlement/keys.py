"""The hub's keys: its own account, the session key that signs vouchers, and an account for each organisation."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Mapping
from pathlib import Path

from farlane.errors import FarlaneError
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import machine_password

log = logging.getLogger(__name__)
OPERATOR = "hub"
"""Pays the gas, and on an embedded chain makes the credits."""
SESSION = "session"
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")


class HubKeys:
    """Accounts of a hub; keys are made when they are first asked for, and opened when something is first signed.

    Args:
        directory: of the key ring; the password that opens it lies there too, since a hub starts on its own.
        payers: organisations that pay from accounts of their own, whose keys this hub never sees.
    """

    def __init__(self, directory: Path, payers: Mapping[str, Address]) -> None:
        self._ring = KeyRing(directory)
        self._payers = dict(payers)
        self._lock = threading.Lock()
        self._open: dict[str, PrivateKey] = {}
        self._missing: set[Address] = set()
        known = [(key, key.address) for key in self._ring.list_keys() if key.address is not None]
        self._addresses = {key.name: address for key, address in known if not key.retired}
        self._held = {address for _, address in known}

    def payer(self, organisation: str) -> Address:
        """Return the account an organisation pays from."""
        own = self._payers.get(organisation)
        return self._address(_payer_name(organisation)) if own is None else own

    def signer(self) -> Address:
        """Return the session key that signs vouchers."""
        return self._address(SESSION)

    def operator(self) -> Address:
        """Return the hub's own account."""
        return self._address(OPERATOR)

    def holds_payer(self, organisation: str) -> bool:
        """Tell whether this hub can pay for an organisation, or only sign vouchers over its channels."""
        return organisation not in self._payers

    def holds_account(self, address: Address) -> bool:
        """Tell whether the ring has the key of an account, one that is not used any more too."""
        return address in self._held

    def key(self, address: Address) -> PrivateKey:
        """Return an open key of the ring by its address; the first time it is read from disk."""
        with self._lock:
            found = self._open.get(address)
            if found is None:
                found = self._open[address] = self._ring.open(address, machine_password(self._ring.directory))
            return found

    def find(self, address: Address) -> PrivateKey | None:
        """Return an open key by its address; None, once told, where there is none or it cannot be opened."""
        return self._find(address, "nothing that %s must send goes on: %s")

    def session_key(self, address: Address) -> PrivateKey | None:
        """Return the session key of a channel, a retired one too; None, once told, where it cannot be opened."""
        return self._find(address, "heads of channels that %s signs for get no voucher: %s")

    def prepare(self) -> None:
        """Make and open what every hub needs; it takes a moment, so call it off the loop."""
        for address in (self.operator(), self.signer()):
            self.key(address)

    def _address(self, name: str) -> Address:
        with self._lock:
            found = self._addresses.get(name)
            if found is None:
                key = self._ring.create(name, machine_password(self._ring.directory))
                found = self._addresses[name] = key.address
                self._open[found] = key
                self._held.add(found)
            return found

    def _find(self, address: Address, otherwise: str) -> PrivateKey | None:
        if address in self._missing:
            return None
        try:
            return self.key(address)
        except FarlaneError as error:
            self._missing.add(address)
            log.error(otherwise, address, error.message)
            return None


def _payer_name(organisation: str) -> str:
    """Return the name of an organisation's key: readable, and different for different organisations."""
    plain = organisation if _PLAIN.fullmatch(organisation) else ""
    digest = hashlib.sha256(organisation.encode()).hexdigest()[:12]
    return f"payer-{plain}" if plain else f"payer-x{digest}"
