"""Admission: keys in the network's registry are let in as nodes for a while, without any token."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from dataclasses import dataclass
from hashlib import sha256

from farlane.errors import Exhausted, FarlaneError, InvalidInput, NotFound, PermissionRefused, Unauthenticated
from farlane.kit.clock import Clock
from farlane.kit.keys import random_secret
from farlane.ledger.accounts import Address, address_bytes
from farlane.ledger.admission import check_admission
from farlane.ledger.network_registry import EntryKind, NetworkRegistry
from farlane.wire.serving import Identity
from farlane.wire.tokens import secret_digest

log = logging.getLogger(__name__)
CHALLENGE_S = 60
"""How long a challenge may be answered."""
LASTS_S = 24 * 3600.0
"""How long a credential lets its holder in after the registry has last confirmed its key."""
RECHECK_S = 1800.0
"""How often the registry is asked again about every key that is in."""
MAX_ADMITTED = 10_000
"""Credentials at the same time, one for each key."""
CALLS_PER_S = 20.0
BURST = 40.0
"""Calls by strangers, all together: each costs a signature check (0.1 ms) and a question to the chain."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a key has to sign; expires in unix seconds."""

    nonce: bytes
    expires: int


@dataclass(frozen=True, slots=True)
class _Admitted:
    digest: bytes
    until: float


class Admission:
    """Decides whom to let in. Credentials are kept in memory: after a restart of the hub nodes ask again.

    Args:
        registry: of the network; who stands there, and under which operator, is asked each time.
        pin: SHA-256 of the hub's TLS key.
        clock: wall time.
        allowed: keys that are let in besides those of the registry, each with the organisation it belongs to.
    """

    def __init__(
        self,
        registry: NetworkRegistry,
        pin: bytes,
        clock: Clock,
        allowed: dict[Address, str] | None = None,
    ) -> None:
        self._registry, self._pin, self._clock = registry, pin, clock
        self._allowed = allowed or {}
        self._code = secrets.token_bytes(32)
        self._admitted: dict[Address, _Admitted] = {}
        self._identities: dict[bytes, tuple[Identity, float]] = {}
        self._room, self._refilled = BURST, clock.now()

    @property
    def network(self) -> str:
        """Return the network's id."""
        return self._registry.domain.network

    def challenge(self, key: Address) -> Challenge:
        """Return what a key has to sign; nothing is kept of it.

        Raises:
            Exhausted: too many strangers call.
        """
        self._take_turn()
        expires = int(self._clock.now()) + CHALLENGE_S
        return Challenge(self._nonce(key, expires), expires)

    async def admit(self, key: Address, challenge: Challenge, signature: bytes) -> tuple[str, Identity]:
        """Return a secret that lets the holder of a key in, and as whom.

        Raises:
            Exhausted: too many strangers call, or are in.
            Unauthenticated: the challenge is not ours, or too old.
            InvalidSignature: somebody else signed it.
            PermissionRefused: the key stands neither in the registry nor on the hub's list.
        """
        self._take_turn()
        now = self._clock.now()
        if not hmac.compare_digest(challenge.nonce, self._nonce(key, challenge.expires)):
            raise Unauthenticated(
                "this hub has not given this challenge to this key: ask for one and sign that"
            )
        if not now <= challenge.expires <= now + CHALLENGE_S:
            raise Unauthenticated("the challenge has expired: ask for another")
        check_admission(self._registry.domain, key, self._pin, challenge.nonce, challenge.expires, signature)
        identity = Identity("node", await self._organisation(key), "")
        return self._issue(key, identity, now), identity

    async def run(self) -> None:
        """Ask the registry again and again about the keys that are in, until cancelled."""
        try:
            while True:
                await asyncio.sleep(RECHECK_S)
                await self.recheck()
        finally:
            await self._registry.close()

    async def recheck(self) -> None:
        """Renew the credentials of keys that still stand in the registry; keys that do not are out at once.

        While the chain is away nothing changes, so that credentials run out in their own time.
        """
        for key, one in list(self._admitted.items()):
            try:
                organisation = await self._organisation(key)
            except PermissionRefused as error:
                log.info("let in no longer: %s", error.message)
                self._forget(key)
            except FarlaneError as error:
                log.warning("the registry cannot be asked about %s: %s", key, error.message)
            else:
                if self._admitted.get(key) == one:
                    until = self._clock.now() + LASTS_S
                    self._admitted[key] = _Admitted(one.digest, until)
                    self._identities[one.digest] = (Identity("node", organisation, ""), until)

    def lookup(self, digest: bytes) -> Identity | None:
        """Return who a secret's digest belongs to, None where it is unknown or has run out."""
        found = self._identities.get(digest)
        return found[0] if found is not None and self._clock.now() < found[1] else None

    async def _organisation(self, key: Address) -> str:
        known = self._allowed.get(key)
        if known is not None:
            return known
        try:
            entry = await self._registry.entry_of(key)
        except NotFound as error:
            raise PermissionRefused(
                f"the key {key} stands in no registry of this network: list it by `farlane network register-node`",
                key=key,
            ) from error
        if entry.retired or entry.kind != EntryKind.NODE:
            raise PermissionRefused(
                f"the key {key} is {'retired' if entry.retired else 'a hub, not a node'} in the network's registry",
                key=key,
            )
        return entry.operator

    def _issue(self, key: Address, identity: Identity, now: float) -> str:
        if key in self._admitted:
            self._forget(key)
        elif len(self._admitted) >= MAX_ADMITTED:
            self._forget_expired(now)
        if len(self._admitted) >= MAX_ADMITTED:
            raise Exhausted(
                f"{MAX_ADMITTED} nodes are let in by their keys at the moment; this hub takes no more"
            )
        secret = random_secret()
        admitted = self._admitted[key] = _Admitted(secret_digest(secret), now + LASTS_S)
        self._identities[admitted.digest] = (identity, admitted.until)
        return secret

    def _forget_expired(self, now: float) -> None:
        for key, one in list(self._admitted.items()):
            if one.until <= now:
                self._forget(key)

    def _forget(self, key: Address) -> None:
        self._identities.pop(self._admitted.pop(key).digest, None)

    def _nonce(self, key: Address, expires: int) -> bytes:
        if not 0 <= expires < 1 << 64:
            raise InvalidInput("a challenge expires at a moment that no clock has")
        return hmac.digest(self._code, address_bytes(key) + expires.to_bytes(8, "big"), sha256)

    def _take_turn(self) -> None:
        """Count a call against what all strangers together may cost."""
        now = self._clock.now()
        self._room = min(BURST, self._room + max(0.0, now - self._refilled) * CALLS_PER_S)
        self._refilled = now
        if self._room < 1:
            raise Exhausted("too many keys ask to be let in at the moment: try again in a few seconds")
        self._room -= 1
