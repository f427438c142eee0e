"""A version into a running kubo, pinned there, so that any IPFS peer can fetch it; an alias as an IPNS name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from farlane.errors import InvalidInput, NotFound, Unavailable, UnsupportedVersion
from farlane.models.adding import OnProgress, Progress
from farlane.models.catalog.values import Version
from farlane.models.cid import Cid
from farlane.models.ipfs.kubo_store import KuboStore
from farlane.models.ipfs.outgoing import DOING, Outgoing, gather, own_links
from farlane.models.ipfs.rpc import KuboRpc, Record
from farlane.models.ipfs.signed_version import published_as
from farlane.models.names import parse_reference
from farlane.models.private.versions import require_public
from farlane.models.repository import Repository

OLDEST_KUBO: Final = (0, 26)
"""Pins have names from 0.26 on. Source: kubo's changelog of 0.26."""
IPNS_LIFETIME_S: Final = 48 * 3600
IPNS_TTL_S: Final = 300


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was published: under which CID, how much was sent (0 where the kubo had it), what is pinned."""

    version: Version
    root: Cid
    sent_blocks: int
    sent_bytes: int
    pinned: tuple[Cid, ...]
    left_out: tuple[Cid, ...]


def check_kubo(rpc: KuboRpc) -> str:
    """Return a kubo's version.

    Raises:
        Unavailable: nothing answers, or something else than a kubo.
        UnsupportedVersion: it is too old.
    """
    version = rpc.version()
    numbers = version.split("-")[0].split(".")
    if not all(part.isdigit() for part in numbers[:2]) or len(numbers) < 2:
        raise UnsupportedVersion(
            f"the kubo at {rpc.place} calls itself {version[:40]!r}: expected one like 0.43.0"
        )
    if (int(numbers[0]), int(numbers[1])) < OLDEST_KUBO:
        oldest = ".".join(map(str, OLDEST_KUBO))
        raise UnsupportedVersion(
            f"the kubo at {rpc.place} is {version}; farlane needs {oldest} or newer: update it",
            version=version,
        )
    return version


def push(
    repository: Repository,
    reference: str,
    rpc: KuboRpc,
    *,
    pin: bool = True,
    on_progress: OnProgress | None = None,
) -> Pushed:
    """Send a version and its public ancestors to a kubo, and pin it there.

    Args:
        repository: where the version is.
        reference: which one.
        rpc: of the kubo.
        pin: keep it from the kubo's garbage collection.
        on_progress: called as blocks are sent.

    Raises:
        PermissionRefused: it is private, or its licence was not accepted; nothing was sent.
        NotFound: a part of it is not here; nothing was sent.
        Unavailable, UnsupportedVersion: there is no kubo that does it; nothing was sent.
        DiskFull: the kubo has no room.
    """
    version, manifest = repository.resolve(reference)
    with repository.blocks.hold(version.manifest):
        out = gather(repository, version, manifest)
        check_kubo(rpc)
        store, keep = KuboStore(rpc), _pins(out, version)
        there = all(_is_there(rpc, cid, recursive) for cid, recursive in keep)
        if not there:
            store.put_many(_told(out, on_progress))
        name = f"{version.name}@v{version.number}"
        for cid, recursive in keep if pin else ():
            rpc.pin(cid.text, name=name, recursive=recursive)
    sent = (0, 0) if there else (len(out.cids), out.size_bytes)
    return Pushed(version, out.root, *sent, tuple(cid for cid, _ in keep) if pin else (), out.left_out)


def publish_alias(
    repository: Repository, reference: str, rpc: KuboRpc, *, offline: bool = False
) -> tuple[Version, Record]:
    """Let an IPNS name of its own point to where a model's alias stands; call it again when the alias has moved.

    Args:
        repository: where the alias stands.
        reference: `NAME@ALIAS`.
        rpc: of a kubo to which the version was pushed.
        offline: a kubo that can tell nobody keeps the record for itself.

    Raises:
        InvalidInput: the reference names no alias.
        PermissionRefused: the version is private.
        NotFound: the alias is not here, or the version is not in the kubo.
        Unavailable: there is no kubo, or it can tell nobody.
    """
    wanted = parse_reference(reference)
    if not wanted.alias:
        raise InvalidInput(
            f"{reference!r} names no alias: expected NAME@ALIAS, such as {wanted.name}@champion"
        )
    version, manifest = repository.resolve(wanted)
    require_public(manifest, DOING)
    check_kubo(rpc)
    root, _ = published_as(version)
    if not _is_there(rpc, root, False):
        raise NotFound(
            f"the kubo at {rpc.place} does not have {version.name}@v{version.number}: "
            f"send it with `farlane models ipfs push {reference}` first"
        )
    key = alias_key(wanted.name, wanted.alias)
    rpc.ensure_key(key)
    return version, _published(rpc, f"/ipfs/{root.text}", key, offline)


def _published(rpc: KuboRpc, path: str, key: str, offline: bool) -> Record:
    """Publish, and make sure of it: a kubo without routing says yes and keeps nothing."""
    record = rpc.publish(path, key, lifetime_s=IPNS_LIFETIME_S, ttl_s=IPNS_TTL_S)
    with contextlib.suppress(NotFound):
        if rpc.resolve(record.name, offline=True) == path:
            return record
    if not offline:
        raise Unavailable(
            f"the kubo at {rpc.place} has kept no record of {record.name}: its Routing.Type may be none. "
            "--allow-offline keeps it in the kubo alone, for those who ask this kubo"
        )
    return rpc.publish(path, key, lifetime_s=IPNS_LIFETIME_S, ttl_s=IPNS_TTL_S, offline=True)


def alias_key(name: str, alias: str) -> str:
    """Return what a kubo calls the key of an alias; no two aliases share one."""
    return f"farlane:{name}@{alias}"


def _pins(out: Outgoing, version: Version) -> list[tuple[Cid, bool]]:
    """Return what to pin, and whether with all below it."""
    if not out.left_out:
        return [(out.root, True)]
    # A pin of the manifest would have to hold the parents that stay here, too.
    heads = dict.fromkeys((out.root, version.manifest))
    return [*((cid, False) for cid in heads), *((cid, True) for cid in own_links(out.manifest))]


def _is_there(rpc: KuboRpc, cid: Cid, recursive: bool) -> bool:
    if rpc.block_size(cid.text) is None:
        return False
    try:
        if recursive:
            rpc.check_complete(cid.text)
    except NotFound:
        return False
    return True


def _told(out: Outgoing, on_progress: OnProgress | None) -> Iterator[tuple[Cid, bytes]]:
    done = 0
    for cid, data in out.blocks():
        yield cid, data
        done += len(data)
        if on_progress is not None:
            on_progress(Progress(cid.text, done, out.size_bytes))
