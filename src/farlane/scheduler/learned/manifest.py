"""What a checkpoint says of itself: its network, features and their ranges, training data, metrics and licence."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from farlane.errors import Corrupted, InvalidInput, UnsupportedVersion

FORMAT = 1
"""Version of the checkpoint's layout; another one is refused."""
MAX_MEMBERS = 16
_MAX_NAMES = 256
_MAX_TEXT = 4096

Features = Mapping[str, tuple[str, ...]]
"""Names of the features by what they describe: task, global, pair."""


class Span(NamedTuple):
    """What training saw of one feature: the 0.1th percentile, the mean and the 99.9th percentile."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True)
class Source:
    """Data that weights were trained on: its name and the SHA-256 of its bytes, in hex (empty for generated data)."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint says of itself.

    members: networks in the ensemble; network: sizes of its layers by name; features: their names by what they
    describe; spans: for those, in the same order, what training saw, empty where nothing was; training: data, seeds
    and commit (of this project) it came from; metrics: numbers by name; licence: SPDX identifier of the weights;
    note: a sentence for people.
    """

    members: int
    network: Mapping[str, int]
    features: Features
    spans: Mapping[str, tuple[Span, ...]]
    training: tuple[Source, ...]
    seeds: tuple[int, ...]
    commit: str
    metrics: Mapping[str, float]
    licence: str
    note: str = ""
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """Return the digest of the features; see `features_digest`."""
        return features_digest(self.features)


def features_digest(features: Features) -> str:
    """Return the SHA-256, in hex, of the features' names in order: equal digests mean equal columns."""
    named = json.dumps({kind: list(names) for kind, names in features.items()}, sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return a manifest as JSON; equal manifests give equal bytes.

    Raises:
        InvalidInput: what it says could not be read back.
    """
    fields = asdict(manifest) | {"digest": manifest.digest}
    fields["spans"] = {kind: [list(span) for span in spans] for kind, spans in manifest.spans.items()}
    try:
        text = json.dumps(fields, sort_keys=True, indent=1, allow_nan=False)
    except ValueError as error:
        raise InvalidInput(
            "a manifest with numbers that are not finite; expected finite ones only: leave them out"
        ) from error
    data = text.encode()
    try:
        read_manifest(data)
    except (Corrupted, UnsupportedVersion) as error:
        raise InvalidInput(f"a manifest that could not be read back: {error}") from error
    return data


def read_manifest(data: bytes) -> Manifest:
    """Return the manifest in JSON bytes.

    Raises:
        UnsupportedVersion: it is of another format.
        Corrupted: it is no manifest, lacks something, or says what cannot be.
    """
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Corrupted("the manifest is not JSON; expected a checkpoint as farlane writes it") from error
    if not isinstance(fields, dict):
        raise _wrong("manifest", "an object")
    _check_format(fields.get("format"))
    features = _features(fields.get("features"))
    if fields.get("digest") != features_digest(features):
        raise Corrupted("the manifest's digest is not that of its features; the checkpoint was changed")
    members = _whole(fields.get("members"), "members")
    if not 1 <= members <= MAX_MEMBERS:
        raise _wrong("members", f"1 to {MAX_MEMBERS}")
    return Manifest(
        members=members,
        network={name: _whole(value, f"network.{name}") for name, value in _table(fields, "network").items()},
        features=features,
        spans=_spans(_table(fields, "spans"), features),
        training=tuple(_source(each) for each in _list(fields.get("training"), "training")),
        seeds=tuple(_whole(each, "seeds") for each in _list(fields.get("seeds"), "seeds")),
        commit=_text(fields.get("commit"), "commit"),
        metrics={
            name: _number(value, f"metrics.{name}") for name, value in _table(fields, "metrics").items()
        },
        licence=_text(fields.get("licence"), "licence"),
        note=_text(fields.get("note"), "note"),
        format=FORMAT,
    )


def _check_format(found: object) -> None:
    if isinstance(found, bool) or not isinstance(found, int):
        raise _wrong("format", "a whole number")
    if found != FORMAT:
        older = found < FORMAT
        fix = "train or export it again" if older else "update farlane, or use weights of this version"
        raise UnsupportedVersion(
            f"a checkpoint of format {found}, {'older' if older else 'newer'} than format {FORMAT} "
            f"that this farlane reads; {fix}",
            format=found,
        )


def _features(found: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(found, dict) or len(found) > _MAX_NAMES:
        raise _wrong("features", "an object of lists of names")
    features = {
        str(kind): tuple(_text(name, f"features.{kind}") for name in _list(names, f"features.{kind}"))
        for kind, names in found.items()
    }
    for kind, names in features.items():
        if len(set(names)) < len(names):
            raise _wrong(f"features.{kind}", "names that differ")
    return features


def _spans(found: dict[str, Any], features: Features) -> dict[str, tuple[Span, ...]]:
    spans = {
        kind: tuple(_span(each, f"spans.{kind}") for each in _list(rows, f"spans.{kind}"))
        for kind, rows in found.items()
    }
    for kind, rows in spans.items():
        if len(rows) != len(features.get(kind, ())):
            raise _wrong(f"spans.{kind}", "one row a feature")
    return spans


def _span(found: object, name: str) -> Span:
    numbers = [_number(each, name) for each in _list(found, name)]
    if len(numbers) != len(Span._fields) or numbers[0] > numbers[2]:
        raise _wrong(name, "rows of low, mean and high")
    return Span(*numbers)


def _source(found: object) -> Source:
    if not isinstance(found, dict):
        raise _wrong("training", "objects of name and sha256")
    return Source(_text(found.get("name"), "training.name"), _text(found.get("sha256"), "training.sha256"))


def _table(fields: dict[str, Any], name: str) -> dict[str, Any]:
    found = fields.get(name)
    if not isinstance(found, dict) or len(found) > _MAX_NAMES:
        raise _wrong(name, f"an object of at most {_MAX_NAMES} names")
    return found


def _list(found: object, name: str) -> list[Any]:
    if not isinstance(found, list) or len(found) > _MAX_NAMES:
        raise _wrong(name, f"a list of at most {_MAX_NAMES}")
    return found


def _text(found: object, name: str) -> str:
    if not isinstance(found, str) or len(found) > _MAX_TEXT:
        raise _wrong(name, f"text of at most {_MAX_TEXT} characters")
    return found


def _whole(found: object, name: str) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 1 << 63:
        raise _wrong(name, "a whole number of at least 0")
    return found


def _number(found: object, name: str) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise _wrong(name, "a finite number")
    return float(found)


def _wrong(name: str, expected: str) -> Corrupted:
    return Corrupted(
        f"the checkpoint's manifest has a wrong or no `{name}`; expected {expected}: export it again",
        field=name,
    )
