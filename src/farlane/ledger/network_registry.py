"""The network's registry on chain: nodes and hubs by key, their endpoints and TLS keys, and their operators' bonds."""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

from farlane.errors import Conflict, InvalidInput, NotFound, Reverted
from farlane.ledger import abi
from farlane.ledger.accounts import NO_ADDRESS, Address, PrivateKey
from farlane.ledger.artifacts import load
from farlane.ledger.deploy import Deployment
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.rpc import RpcClient, hexed, unhexed
from farlane.ledger.sending import Sender
from farlane.ledger.typed_data import Domain, digest

CONTRACT = "NetworkRegistry"
PAGE = 100
MAX_ENTRIES = 100_000
"""Entries read at most: whoever fills a registry with rubbish must not fill our memory."""
MAX_ENDPOINT_BYTES = 256
"""Source: NetworkRegistry.sol, MAX_ENDPOINT_BYTES."""
NO_DIGEST = bytes(32)


class EntryKind(IntEnum):
    """What stands in the registry. Source: NetworkRegistry.sol, enum Kind."""

    NODE = 0
    HUB = 1


@dataclass(frozen=True, slots=True)
class Listing:
    """What an operator says of a key: where it answers and by which TLS key.

    endpoint: `https://host:port`, empty for a node that only connects outwards; tls_key_hash: SHA-256 of the TLS key's
    SubjectPublicKeyInfo; descriptor: SHA-256 inside the CID of a document that says more, zeros for none.
    """

    endpoint: str
    tls_key_hash: bytes
    descriptor: bytes = NO_DIGEST


@dataclass(frozen=True, slots=True)
class Entry:
    """One key in the registry; updated_at in unix seconds of the chain.

    problem: why it cannot be dialled, empty if nothing speaks against it. Anybody may register anything.
    """

    kind: EntryKind
    key: Address
    operator: Address
    listing: Listing
    retired: bool
    updated_at: int
    problem: str = ""

    @property
    def usable(self) -> bool:
        """Tell whether it is in use and can be dialled."""
        return not self.retired and not self.problem


@dataclass(frozen=True, slots=True)
class Bond:
    """An operator's bond in units; leaves_at: unix seconds from which what is leaving can be withdrawn."""

    standing: int
    leaving: int
    leaves_at: int


class NetworkRegistry:
    """A typed client of the contract.

    Calls that change something return once confirmed and raise Reverted, with the contract's own error as fact
    `error`, where it refuses; all raise ChainUnavailable where the chain cannot be reached.

    Args:
        rpc: the chain; `deploy.verify_deployment` has checked that it is the right one.
        deployment: where the contracts are.
        confirmations: blocks on top of a transaction before it counts.
        sender: sends; one without a file and with the default cap on gas where none is given.
    """

    def __init__(
        self, rpc: RpcClient, deployment: Deployment, confirmations: int = 0, sender: Sender | None = None
    ) -> None:
        self._rpc, self._deployment = rpc, deployment
        self._sender = sender or Sender(rpc, deployment.chain_id, confirmations)

    @property
    def domain(self) -> Domain:
        """Where signatures over the registry's structs count."""
        return registry_domain(self._deployment)

    async def close(self) -> None:
        """Let go of connections to the chain."""
        await self._rpc.close()

    async def check(self) -> None:
        """Check that the registry belongs to the deployment's network and token.

        Raises:
            Conflict: it is another network's; the network file is wrong or was forged.
        """
        network, token = await self._read("network"), await self._read("token")
        if network != self._deployment.domain.salt or token != self._deployment.token:
            raise Conflict(
                f"the registry {self._deployment.network_registry} belongs to network 0x{network.hex()} and token "
                f"{token}; the network file says {self._deployment.network} and {self._deployment.token}"
            )

    async def register(
        self, operator: PrivateKey, kind: EntryKind, key: PrivateKey, listing: Listing
    ) -> TransactionReceipt:
        """List a key under its operator, who pays the gas; the key signs that it belongs there.

        Raises:
            InvalidInput: the listing could not be dialled by anybody.
        """
        signature = b"" if key.address == operator.address else self.sign_key(operator.address, key)
        return await self.register_signed(operator, kind, key.address, listing, signature)

    async def register_signed(
        self, operator: PrivateKey, kind: EntryKind, key: Address, listing: Listing, signature: bytes
    ) -> TransactionReceipt:
        """As `register`, with the word of a key that is on another machine: what `sign_key` returned there."""
        return await self._send(operator, "register", int(kind), key, *_fields(listing), signature)

    def sign_key(self, operator: Address, key: PrivateKey) -> bytes:
        """Return the key's word that it belongs to an operator; it may be signed on another machine."""
        return key.sign(digest(self.domain, "KeyOfOperator", (operator, key.address)))

    async def update(self, operator: PrivateKey, key: Address, listing: Listing) -> TransactionReceipt:
        """Change what a key's entry says.

        Raises:
            InvalidInput: the listing could not be dialled by anybody.
        """
        return await self._send(operator, "update", key, *_fields(listing))

    async def list_key(
        self, operator: PrivateKey, kind: EntryKind, key: PrivateKey, listing: Listing
    ) -> Entry:
        """Register a key, or bring the entry it has up to date; nothing is sent where nothing differs.

        Raises:
            Conflict: the key is another operator's, of the other kind, or retired: use another key.
            InvalidInput: as `register`.
        """
        signature = b"" if key.address == operator.address else self.sign_key(operator.address, key)
        return await self.list_signed(operator, kind, key.address, listing, signature)

    async def list_signed(
        self, operator: PrivateKey, kind: EntryKind, key: Address, listing: Listing, signature: bytes
    ) -> Entry:
        """As `list_key`, with the word of a key that is on another machine.

        Raises:
            Conflict: the key is another operator's, of the other kind, or retired: use another key.
            InvalidInput: as `register`.
        """
        try:
            known = await self.entry_of(key)
        except NotFound:
            await self.register_signed(operator, kind, key, listing, signature)
            return await self.entry_of(key)
        if known.retired or known.kind != kind or known.operator != operator.address:
            raise Conflict(
                f"the key {key} is registered already, as a {known.kind.name.lower()} of {known.operator}"
                f"{', and retired' if known.retired else ''}: list another key",
                key=key,
            )
        if known.listing != listing:
            await self.update(operator, key, listing)
        return await self.entry_of(key)

    async def retire(self, operator: PrivateKey, key: Address) -> TransactionReceipt:
        """Say that a key is used no more; it can never be listed again."""
        return await self._send(operator, "retire", key)

    async def bond(self, payer: PrivateKey, operator: Address, amount: int) -> TransactionReceipt:
        """Add units of the payer's tokens to an operator's bond; approves the contract where it must."""
        registry, token = self._deployment.network_registry, self._deployment.token
        allowed = await self._rpc.read("CreditToken", token, "allowance", (payer.address, registry))
        if allowed < amount:
            approval = abi.encode_call("CreditToken", "approve", (registry, amount))
            await self._sender.send(payer, token, approval)
        return await self._send(payer, "bond", operator, amount)

    async def request_unbond(self, operator: PrivateKey, amount: int) -> TransactionReceipt:
        """Ask for a part of the bond back; until it is withdrawn it can be slashed."""
        return await self._send(operator, "requestUnbond", amount)

    async def withdraw_bond(self, operator: PrivateKey, to: Address) -> TransactionReceipt:
        """Take out what has waited long enough."""
        return await self._send(operator, "withdrawBond", to)

    async def slash(
        self, slasher: PrivateKey, operator: Address, victim: Address, amount: int, evidence: bytes
    ) -> TransactionReceipt:
        """Take from an operator's bond for a victim; evidence: SHA-256 of the document that says why."""
        return await self._send(slasher, "slash", operator, victim, amount, evidence)

    async def bond_of(self, operator: Address) -> Bond:
        """Return an operator's bond, zeros where there is none."""
        return Bond(*await self._read("bonds", operator))

    async def bonded(
        self, entries: Sequence[Entry], least: int
    ) -> tuple[list[Entry], list[tuple[Entry, str]]]:
        """Return the entries whose operators have at least so many units bonded, and the others with why not.

        What is leaving does not count: it may be gone before anybody is wronged.
        """
        if not least:
            return list(entries), []
        bonds = {one: await self.bond_of(one) for one in sorted({each.operator for each in entries})}
        enough = [one for one in entries if bonds[one.operator].standing >= least]
        return enough, [
            (
                one,
                f"its operator {one.operator} has {bonds[one.operator].standing} units bonded; {least} are asked for",
            )
            for one in entries
            if bonds[one.operator].standing < least
        ]

    async def count(self) -> int:
        """Return how many entries there are, retired ones included."""
        return int(await self._read("count"))

    async def entry_of(self, key: Address) -> Entry:
        """Return one key's entry.

        Raises:
            NotFound: the key was never registered.
        """
        try:
            return entry_from(await self._read("entryOf", key))
        except Reverted as error:
            if str(error.facts.get("error", "")).startswith("UnknownKey"):
                raise NotFound(
                    f"no node or hub is registered under the key {key}: see `farlane network show FILE`",
                    key=key,
                ) from error
            raise

    async def page(self, start: int, limit: int = PAGE) -> list[Entry]:
        """Return entries in the order of their registration, fewer than `limit` at the end."""
        found: list[Mapping[str, Any]] = await self._read("page", start, limit)
        return [entry_from(one) for one in found]

    async def entries(self, kind: EntryKind | None = None) -> AsyncIterator[Entry]:
        """Read the whole registry page by page; retired entries and those with a problem included.

        Entries never move or vanish, so what registers between two pages comes at the end and nothing is missed or
        seen twice. An endpoint that lags behind for one page ends the reading early.

        Raises:
            Conflict: there are more than MAX_ENTRIES.
        """
        start = 0
        while found := await self.page(start):
            for entry in found:
                if kind is None or entry.kind == kind:
                    yield entry
            start += len(found)
            if start >= MAX_ENTRIES:
                raise Conflict(f"the registry has more than {MAX_ENTRIES} entries; farlane reads no more")

    async def _read(self, name: str, *arguments: Any) -> Any:
        contract = _tolerant_abi()
        data = abi.encode_call(contract, name, arguments)
        call = {"to": self._deployment.network_registry, "data": hexed(data)}
        raw = await self._rpc.call("eth_call", call, "latest")
        return abi.decode_result(contract, name, unhexed(raw))

    async def _send(self, key: PrivateKey, name: str, *arguments: Any) -> TransactionReceipt:
        data = abi.encode_call(CONTRACT, name, arguments)
        return await self._sender.send(key, self._deployment.network_registry, data)


def registry_domain(deployment: Deployment) -> Domain:
    """Return where signatures over KeyOfOperator and Admission count: the registry, not the ledger."""
    return Domain(deployment.chain_id, deployment.network_registry, deployment.network)


def entry_from(found: Mapping[str, Any]) -> Entry:
    """Check and return one entry as the contract gives it."""
    text, problem = _endpoint_text(found["endpoint"])
    listing = Listing(text, found["tlsKeyHash"], found["descriptor"])
    operator, key = Address(found["operator"]), Address(found["key"])
    if NO_ADDRESS in (operator, key):
        problem = problem or "it has no operator or key"
    problem = problem or listing_problem(listing)
    kind = EntryKind(found["kind"])
    return Entry(kind, key, operator, listing, found["retired"], found["updatedAt"], problem)


def listing_problem(listing: Listing) -> str:
    """Return why a listing cannot be dialled, empty if nothing speaks against it."""
    if len(listing.tls_key_hash) != 32 or listing.tls_key_hash == NO_DIGEST:
        return "it names no TLS key (32 bytes, not all zeros)"
    if not listing.endpoint:
        return "it has no endpoint: it only connects outwards"
    try:
        parts = urllib.parse.urlsplit(listing.endpoint)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"its endpoint is no URL: {error}"
    extra = parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment
    if parts.scheme != "https" or not host or not port or extra:
        return f"its endpoint {listing.endpoint[:80]!r} is not https://host:port"
    return ""


def _endpoint_text(raw: bytes) -> tuple[str, str]:
    text = raw.decode("ascii", errors="replace")
    if not all("!" <= char <= "~" for char in text):
        return "", "its endpoint has characters that no URL has"
    return text, ""


def _fields(listing: Listing) -> tuple[bytes, bytes, str]:
    problem = listing_problem(listing) if listing.endpoint else ""
    size = len(listing.endpoint.encode())
    if size > MAX_ENDPOINT_BYTES:
        problem = f"its endpoint has {size} bytes; expected at most {MAX_ENDPOINT_BYTES}"
    if problem:
        raise InvalidInput(f"nobody could dial this entry: {problem}")
    return listing.tls_key_hash, listing.descriptor, listing.endpoint


@cache
def _tolerant_abi() -> Sequence[abi.Entry]:
    """Return the ABI with what the contract gives back as `string` read as `bytes`.

    Anybody may register an endpoint that is no UTF-8; it must not make the page it stands on unreadable.
    """

    def tolerant(parameter: Mapping[str, Any]) -> dict[str, Any]:
        kind = "bytes" if parameter["type"] == "string" else parameter["type"]
        inner = [tolerant(part) for part in parameter.get("components", ())]
        return {**parameter, "type": kind, **({"components": inner} if inner else {})}

    return [
        {**one, "outputs": [tolerant(part) for part in one.get("outputs", ())]}
        for one in load(CONTRACT)["abi"]
        if one["type"] == "function"
    ]
