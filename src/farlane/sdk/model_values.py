"""Models as a hub tells of them: names, versions with what is shown of their manifests, aliases and their history."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.errors import Corrupted, InvalidInput
from farlane.models.catalog.values import AliasMove, Author, Version
from farlane.models.cid import Cid, parse_cid
from farlane.models.manifest.signature import Signature
from farlane.wire.v1 import models_pb2


@dataclass(frozen=True, slots=True)
class HubVersion:
    """A version at a hub; format, dtype and licence as its manifest says, size in bytes of all its files."""

    version: Version
    size_bytes: int
    private: bool
    format: str
    dtype: str
    licence: str


@dataclass(frozen=True, slots=True)
class HubModel:
    """A name at a hub: whose it is, the account whose versions are trusted, and when it was made (Unix seconds).

    versions: oldest first, the newest alone where all names were listed; aliases: where each stands; moves: of the
    aliases, oldest first, where one name was asked for.
    """

    name: str
    organisation: str
    publisher: str
    created: float
    versions: tuple[HubVersion, ...]
    aliases: dict[str, Cid]
    moves: tuple[AliasMove, ...]


@dataclass(frozen=True, slots=True)
class Pushed:
    """A version that was published: under which name and number, what was sent for it, and the alias that moved."""

    version: Version
    sent_bytes: int
    total_bytes: int
    move: AliasMove | None


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version that was taken: under which name and number it is here, and how many bytes came."""

    version: Version
    received_bytes: int


def version_from_wire(message: models_pb2.ModelVersion) -> Version:
    """Return a version.

    Raises:
        Corrupted: its CID is none.
    """
    signature = None
    if message.HasField("signature"):
        signature = Signature(message.signature.signer, message.signature.signature)
    return Version(message.name, message.number, _cid(message.cid), signature, message.added)


def hub_version_from_wire(message: models_pb2.ModelVersion) -> HubVersion:
    """Return a version with what is shown of it; raises as `version_from_wire`."""
    return HubVersion(
        version_from_wire(message),
        message.size_bytes,
        message.private,
        message.format,
        message.dtype,
        message.licence,
    )


def move_from_wire(message: models_pb2.AliasMove) -> AliasMove:
    """Return a move of an alias.

    Raises:
        Corrupted: a CID is none.
    """
    return AliasMove(
        message.sequence,
        message.name,
        message.alias,
        _cid(message.target) if message.target else None,
        _cid(message.before) if message.before else None,
        Author(message.organisation, message.author),
        message.at,
        message.back,
    )


def model_from_wire(message: models_pb2.ModelEntry) -> HubModel:
    """Return a name.

    Raises:
        Corrupted: a CID is none.
    """
    return HubModel(
        message.name,
        message.organisation,
        message.publisher,
        message.created,
        tuple(map(hub_version_from_wire, message.versions)),
        {one.alias: _cid(one.cid) for one in message.aliases},
        tuple(map(move_from_wire, message.moves)),
    )


def _cid(text: str) -> Cid:
    try:
        return parse_cid(text)
    except InvalidInput as error:
        raise Corrupted(
            f"the hub names a version by what is no CID; upgrade farlane here: {error.message}"
        ) from error
