"""How a node keeps models: read out of its settings, and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farlane.errors import InvalidInput, InvalidSetting
from farlane.models.transfer.http_connection import parse_address
from farlane.node.offer import size_of
from farlane.node.settings import NodeSettings

IDLE_S: Final = 600.0
"""How long a node stays in the swarm of a version that no replica here uses and nobody fetches from it."""
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What a model cache is made with.

    directory: of blocks and folders; max_bytes: budget; listen: HOST:PORT of the block server, None for none; address:
    what others call it by, None for where it listens; idle_s: see IDLE_S.
    """

    directory: Path
    max_bytes: int
    listen: str | None = None
    address: str | None = None
    idle_s: float = IDLE_S


def cache_settings(settings: NodeSettings) -> CacheSettings:
    """Return how a node keeps models.

    Raises:
        InvalidSetting: a budget or an address that is none, or nothing that others could call the node by.
    """
    listen, address = settings.blocks_listen, settings.blocks_address
    if listen is not None and address is None and _host(listen) in _EVERYWHERE:
        raise InvalidSetting(
            f"node.blocks_listen is {listen}, which is every address of this machine: say in node.blocks_address by "
            "which one other nodes call it, such as 10.0.0.7:4001"
        )
    if address is not None:
        _host(address)
    return CacheSettings(
        settings.directory / "models", size_of("models_bytes", settings.models_bytes), listen, address
    )


def _host(text: str) -> str:
    host, colon, port = text.rpartition(":")
    try:
        return parse_address(f"{host}{colon}{port if port != '0' else '1'}")[0]
    except InvalidInput as error:
        raise InvalidSetting(error.message) from error
