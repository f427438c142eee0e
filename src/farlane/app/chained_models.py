"""Names and versions of models on a network's chain: claimed, published, pointed to by aliases, and read back.

The registry contract knows names and versions. An alias is an entry of its own there, NAME//ALIAS, which no model can
be called: each of its versions is one move of the alias, the last says where it stands. It counts as long as it has
the name's owner, so that nobody else can point anywhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from farlane.errors import Conflict, Corrupted, InvalidInput, NotFound, PermissionRefused, Reverted
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.model_registry import ModelRegistry, PublishedVersion, RegisteredModel
from farlane.models.catalog.values import Version
from farlane.models.cid import DAG_CBOR, Cid
from farlane.models.manifest.values import Manifest
from farlane.models.names import MAX_NAME_BYTES, Reference, check_alias
from farlane.models.private.versions import require_public

MAX_LOOKED_AT: Final = 1024
"""Versions of a name among which one is looked for by its CID, the newest first."""
AT_ONCE: Final = 32
MAX_REASON_BYTES: Final = 256
DOING: Final = "write it on a chain"


@dataclass(frozen=True, slots=True)
class ChainedVersion:
    """A version as the chain knows it.

    number: on the chain, which may differ from that in a repository; owner: of the name; published_at: unix seconds of
    the chain; yanked: its owner warns of it.
    """

    name: str
    number: int
    cid: Cid
    owner: Address
    published_at: int
    yanked: bool


class ChainedModels:
    """Models of one network's chain.

    All calls raise ChainUnavailable where it cannot be reached; those that write, Reverted and InsufficientFunds, too.

    Args:
        registry: the contract.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    async def publish(self, key: PrivateKey, version: Version, manifest: Manifest) -> tuple[int, bool]:
        """Publish a version under its name, which is claimed if it is free; one that is there already stays.

        Args:
            key: owns the name, and has signed the version.
            version: of a repository.
            manifest: what it says.

        Returns:
            Its number on the chain, and whether it is new there.

        Raises:
            PermissionRefused: it is private, signed by another key or by none, or the name is another's.
            Conflict: somebody published under the name at the same moment.
        """
        require_public(manifest, DOING)
        require_signed_by(version, key.address)
        model = await self._claimed(key, version.name)
        number = await self._number_of(model, version.manifest)
        if number is not None:
            return number, False
        await self._append(key, version.name, model.versions + 1, version.manifest)
        return model.versions + 1, True

    async def point(self, key: PrivateKey, name: str, alias: str, target: Cid) -> bool:
        """Put an alias on a version that is published; False where it stands there already.

        Raises:
            PermissionRefused: the name, or its alias, is another's.
            Conflict: somebody moved it at the same moment.
        """
        entry = alias_entry(name, alias)
        model = await self._claimed(key, entry)
        if model.versions and (await self._registry.version(entry, model.versions)).manifest == target.digest:
            return False
        await self._append(key, entry, model.versions + 1, target)
        return True

    async def resolve(self, reference: Reference) -> ChainedVersion:
        """Return the version that a reference means on the chain; numbers are those of the chain.

        Raises:
            NotFound: no such name, version or alias.
            PermissionRefused: the alias is not the name's owner's.
            Corrupted: the alias points to what was never published under the name.
        """
        model = await self._registry.model(reference.name)
        if reference.alias:
            return await self._at_alias(model, reference.alias)
        if reference.cid is not None:
            number = await self._number_of(model, reference.cid)
            if number is None:
                raise NotFound(
                    f"{reference.cid} was not published as a version of {model.name} on this network"
                )
            return await self._at_number(model, number)
        if not model.versions:
            raise NotFound(f"{model.name} is claimed on this network, and has no version there yet")
        return await self._at_number(model, reference.number or model.versions)

    async def yank(self, key: PrivateKey, reference: Reference, reason: str) -> ChainedVersion:
        """Warn everybody of a version on the chain, for good; it is not erased, and one already warned of stays so.

        Args:
            key: owns the name.
            reference: which version, as `resolve` takes it.
            reason: for people; it stands on the chain.

        Raises:
            NotFound, PermissionRefused, Corrupted: as `resolve`.
            PermissionRefused: the name is another's.
            InvalidInput: the reason is empty, or too long.
        """
        if not 0 < len(reason.encode()) <= MAX_REASON_BYTES:
            raise InvalidInput(f"a reason has 1 to {MAX_REASON_BYTES} bytes, this one {len(reason.encode())}")
        found = await self.resolve(reference)
        if found.owner != key.address:
            raise PermissionRefused(
                f"{found.name} belongs to {found.owner} on this network, and only they warn of its versions",
                owner=found.owner,
            )
        if not found.yanked:
            await self._registry.yank(key, found.name, found.number, reason)
        return found

    async def _at_alias(self, model: RegisteredModel, alias: str) -> ChainedVersion:
        entry = await self._alias_of(model.name, alias)
        if entry.owner != model.owner:
            raise PermissionRefused(
                f"{model.name}@{alias} was put on the chain by {entry.owner} and {model.name} belongs to "
                f"{model.owner}: it does not count",
                owner=model.owner,
            )
        stands = cid_of((await self._registry.version(entry.name, entry.versions)).manifest)
        number = await self._number_of(model, stands)
        if number is None:
            raise Corrupted(
                f"{model.name}@{alias} stands on {stands}, which was not published as a version of {model.name}"
            )
        return await self._at_number(model, number)

    async def _alias_of(self, name: str, alias: str) -> RegisteredModel:
        try:
            entry = await self._registry.model(alias_entry(name, alias))
        except NotFound:
            entry = None
        if entry is None or not entry.versions:
            raise NotFound(f"{name} has no alias {alias} on this network", name=name)
        return entry

    async def _at_number(self, model: RegisteredModel, number: int) -> ChainedVersion:
        found = await self._registry.version(model.name, number)
        return ChainedVersion(
            model.name, number, cid_of(found.manifest), model.owner, found.published_at, found.yanked
        )

    async def _claimed(self, key: PrivateKey, name: str) -> RegisteredModel:
        """Return a name that is the key's, claimed if it was free."""
        try:
            model = await self._registry.model(name)
        except NotFound:
            await self._registry.claim(key, name)
            model = await self._registry.model(name)
        if model.owner != key.address:
            raise PermissionRefused(
                f"{name} belongs to {model.owner} on this network, not to {key.address}: use a name of your own, or "
                "have that one handed over",
                owner=model.owner,
            )
        return model

    async def _append(self, key: PrivateKey, name: str, number: int, cid: Cid) -> None:
        try:
            await self._registry.publish(key, name, number, cid.digest)
        except Reverted as error:
            if error.facts.get("error") != "WrongVersion":
                raise
            raise Conflict(
                f"something else was published as {name} at the same moment: look at it with `farlane models show "
                "--chain`, and type the command again"
            ) from error

    async def _number_of(self, model: RegisteredModel, cid: Cid) -> int | None:
        """Return the newest number under which a version stands, None where it is not among the newest."""
        last = max(0, model.versions - MAX_LOOKED_AT)
        for top in range(model.versions, last, -AT_ONCE):
            numbers = range(top, max(last, top - AT_ONCE), -1)
            found: list[PublishedVersion] = await asyncio.gather(
                *(self._registry.version(model.name, number) for number in numbers)
            )
            for number, one in zip(numbers, found, strict=True):
                if one.manifest == cid.digest:
                    return number
        return None


def require_signed_by(version: Version, owner: Address) -> None:
    """Refuse a version that somebody else than the owner of its name on the chain has signed.

    Raises:
        PermissionRefused: it is another's, or nobody's.
    """
    signer = version.signature.signer if version.signature else ""
    if signer != owner:
        raise PermissionRefused(
            f"{version.name}@v{version.number} was signed by {signer or 'nobody'}, and on the chain the name is of "
            f"{owner}: versions of it are added with `farlane models add --key` of that account",
            owner=owner,
            signer=signer,
        )


def alias_entry(name: str, alias: str) -> str:
    """Return under which name of the registry an alias stands.

    Raises:
        InvalidInput: it is none, or both together are too long for the registry.
    """
    entry = f"{name}//{check_alias(alias)}"
    if len(entry) > MAX_NAME_BYTES:
        raise InvalidInput(
            f"{name}@{alias} is too long for a chain: name and alias have {MAX_NAME_BYTES - 2} letters together there"
        )
    return entry


def cid_of(digest: bytes) -> Cid:
    """Return the manifest's CID whose digest the registry keeps."""
    return Cid(1, DAG_CBOR, digest)
