"""Promoted: the checkpoint that has won against what decided, kept below the hub's directory with the evidence.

`pointer.json` names it, what it was promoted in place of, and the one before. It counts while `hub.policy` still names
what it was promoted in place of: whoever sets another policy has the last word.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from farlane.errors import Conflict, FarlaneError, NotFound
from farlane.hub.settings import HubSettings
from farlane.kit.files import atomic_write
from farlane.scheduler.learned.checkpoint import read_checkpoint
from farlane.scheduler.policy import POLICIES

FOLDER = "promoted"
POINTER = "pointer.json"
PREFIX = "promoted:"
"""Names the policy of a checkpoint's file."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Promotion:
    """What decides.

    checkpoint: its file's name; instead_of: the policy in the settings then; at: unix seconds; before: what was
    promoted before it, None for nothing.
    """

    checkpoint: str
    instead_of: str
    at: float
    before: Promotion | None = None


def promotion(directory: Path) -> Promotion | None:
    """Return what is promoted in a hub's directory, None for nothing.

    Raises:
        NotFound: its file is gone.
        Conflict: the pointer is none.
    """
    path = directory / FOLDER / POINTER
    try:
        found = _promotion(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise Conflict(
            f"{path} does not say what is promoted ({error}): remove it, and promote again"
        ) from error
    if not (directory / FOLDER / found.checkpoint).is_file():
        raise NotFound(
            f"the promoted checkpoint {directory / FOLDER / found.checkpoint} is gone: promote again"
        )
    return found


def promote(directory: Path, raw: bytes, instead_of: str, at: float, evidence: object) -> Promotion:
    """Put a checkpoint in force from the hub's next start on, with the evidence beside it; the one before is kept.

    Raises:
        FarlaneError: it is no checkpoint that this program reads.
        DiskFull: no room; nothing has changed.
    """
    read_checkpoint(raw)
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{hashlib.sha256(raw).hexdigest()[:16]}.npz"
    found = Promotion(name, instead_of, at, _before(directory))
    atomic_write(folder / name, raw, 0o644)
    atomic_write(folder / f"{name.removesuffix('.npz')}.json", _json(evidence), 0o644)
    atomic_write(folder / POINTER, _json(asdict(found)), 0o644)
    return found


def roll_back(directory: Path) -> Promotion | None:
    """Put what was in force before the last promotion in force again; returns it, None for the settings' own policy.

    Raises:
        NotFound: nothing is promoted.
    """
    found = promotion(directory)
    if found is None:
        raise NotFound("nothing is promoted; there is nothing to roll back")
    pointer = directory / FOLDER / POINTER
    if found.before is None:
        pointer.unlink()
    else:
        atomic_write(pointer, _json(asdict(found.before)), 0o644)
    return found.before


def with_promoted(settings: HubSettings) -> HubSettings:
    """Return settings whose policy is the promoted checkpoint, where one counts; what it replaced stands in for it.

    A promotion that cannot be read is said in the log, and the settings stay.
    """
    try:
        found = promotion(settings.directory)
    except (FarlaneError, OSError) as error:
        log.error("no promoted policy: %s", error)
        return settings
    if found is None or found.instead_of != settings.policy:
        return settings
    path = (settings.directory / FOLDER / found.checkpoint).absolute()
    try:
        read_checkpoint(path.read_bytes())
    except (FarlaneError, OSError) as error:
        log.error("the promoted policy %s cannot be read: %s", path, error)
        return settings
    fallback = settings.policy if settings.policy in _RULES else settings.policy_fallback
    log.info("the promoted policy %s decides in place of %s", path, settings.policy)
    return replace(settings, policy=f"{PREFIX}{path}", policy_fallback=fallback)


MAX_DEPTH = 16
"""So many promotions can be rolled back, one after the other."""
_RULES = frozenset(POLICIES) - {"learned"}


def _before(directory: Path) -> Promotion | None:
    try:
        found = promotion(directory)
    except FarlaneError:
        return None
    return None if found is None else _cut(found, MAX_DEPTH - 1)


def _cut(found: Promotion, depth: int) -> Promotion:
    """Return a promotion with no more than so many before it."""
    if found.before is None:
        return found
    return replace(found, before=_cut(found.before, depth - 1) if depth > 1 else None)


def _promotion(values: dict[str, object]) -> Promotion:
    before = values["before"]
    checkpoint = str(values["checkpoint"])
    if Path(checkpoint).name != checkpoint:
        raise ValueError(f"{checkpoint!r} is no file's name")
    return Promotion(
        checkpoint, str(values["instead_of"]), float(str(values["at"])),
        _promotion(before) if isinstance(before, dict) else None,
    )  # fmt: skip


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()
