"""The entry on chain of a node that is called directly: made by its own key, or by the provider it works for."""

from __future__ import annotations

import logging

from farlane.errors import FarlaneError, NotFound
from farlane.kit.keys import ServerCertificate
from farlane.ledger.network_registry import Entry, EntryKind, Listing, NetworkRegistry
from farlane.node.books.signing import HeadKey

log = logging.getLogger(__name__)


async def register_node(
    registry: NetworkRegistry, key: HeadKey, endpoint: str, certificate: ServerCertificate
) -> Entry | None:
    """List a node where it can be found; returns its entry, None where its provider has to list it.

    A node whose work is paid to its own key pays for the transaction itself. One that works for a provider holds no
    key of it: the log then says the command by which the provider lists it, and nothing is sent.

    Raises:
        Conflict: the key is registered as something else.
        InvalidInput: nobody could dial the endpoint.
        ChainUnavailable: the endpoint of the chain does not answer.
    """
    assert key.key is not None  # opened before anything is served
    listing = Listing(endpoint.rstrip("/"), certificate.spki_sha256)
    if key.provider == key.address:
        return await registry.list_key(key.key, EntryKind.NODE, key.key, listing)
    try:
        known = await registry.entry_of(key.address)
    except NotFound:
        known = None
    if known is not None and known.operator == key.provider and known.listing == listing and known.usable:
        return known
    signature = registry.sign_key(key.provider, key.key)
    log.warning(
        "publishers cannot find this node yet: with the key of %s, on its own machine, run `farlane network "
        "register-node FILE --rpc URL --key NAME --node %s --node-signature %s --endpoint %s --tls-key-hash %s`",
        key.provider, key.address, signature.hex(), listing.endpoint, listing.tls_key_hash.hex(),
    )  # fmt: skip
    return None


async def try_to_register(
    registry: NetworkRegistry, key: HeadKey, endpoint: str, certificate: ServerCertificate
) -> Entry | None:
    """As `register_node`, but a refusal is only logged: who is listed already can be called all the same."""
    try:
        return await register_node(registry, key, endpoint, certificate)
    except FarlaneError as error:
        log.error("the node's entry on chain was not brought up to date: %s", error.message)
        return None
