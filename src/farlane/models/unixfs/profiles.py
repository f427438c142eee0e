"""The rules by which one file or directory gets one CID: how it is cut, and how nodes are filled.

Source: IPIP-0499, "UnixFS CID profiles" (https://specs.ipfs.tech/ipips/ipip-0499/).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class ShardingRule(Enum):
    """What is compared with the threshold to decide whether a directory is sharded; above it, it is."""

    BLOCK = auto()
    """The size of the directory's block."""
    LINKS = auto()
    """The bytes of all names and CIDs."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One set of rules.

    cid_version: of nodes; raw_leaves: whether leaves are plain bytes; chunk_bytes: of a file in each leaf; width: most
    links of a node of a file; sharding, sharding_threshold_bytes, fanout: when and how directories are sharded.
    """

    name: str
    cid_version: int
    raw_leaves: bool
    chunk_bytes: int
    width: int
    sharding: ShardingRule
    sharding_threshold_bytes: int = 262_144
    fanout: int = 256


V1_2025: Final = Profile("unixfs-v1-2025", 1, True, 1 << 20, 1024, ShardingRule.BLOCK)
"""The profile farlane uses: `ipfs add --profile=unixfs-v1-2025` gives the same CIDs."""

V0_2015: Final = Profile("unixfs-v0-2015", 0, False, 256 << 10, 174, ShardingRule.LINKS)
"""What `ipfs add` does without options."""
