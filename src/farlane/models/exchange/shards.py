"""Weights in several files, as Hugging Face lays them out: an index that names the file of each tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from farlane.errors import Corrupted
from farlane.models.formats.values import Inspection

INDEX: Final = ".safetensors.index.json"
MAX_INDEX_BYTES: Final = 64 << 20


def check_shards(files: Mapping[str, tuple[Path, Inspection]]) -> None:
    """Check that every shard an index names is there, with the tensors it should have.

    Args:
        files: path inside the model -> where it lies and what it is.

    Raises:
        Corrupted: a shard or a tensor is missing, or the index cannot be read.
    """
    for path, (source, look) in files.items():
        if path.endswith(INDEX):
            if look.size > MAX_INDEX_BYTES:
                raise Corrupted(
                    f"{path} has more than {MAX_INDEX_BYTES} bytes: no real index has; it is refused"
                )
            _check_index(path, source.read_bytes(), files)


def _check_index(path: str, raw: bytes, files: Mapping[str, tuple[Path, Inspection]]) -> None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Corrupted(f"{path} is not JSON ({error}): download it again") from error
    shards = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(one, str) for one in shards.values()):
        raise Corrupted(f"{path} has no weight_map of tensors to files: download it again")
    folder = path.rpartition("/")[0]
    tensors: dict[str, set[str]] = {}
    for tensor, shard in shards.items():
        place = f"{folder}/{shard}" if folder else shard
        if place not in files:
            raise Corrupted(
                f"{path} names the shard {shard[:100]!r}, which is not there: download the model again"
            )
        names = tensors.setdefault(place, {one.name for one in files[place][1].tensors})
        if tensor not in names:
            raise Corrupted(f"{path} says that {shard[:100]} holds {tensor[:100]!r}, which it does not")
