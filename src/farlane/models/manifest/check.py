"""What every manifest must keep to, whoever wrote it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from farlane.errors import InvalidInput
from farlane.models.manifest import values
from farlane.models.manifest.licences import check_expression
from farlane.models.manifest.paths import check_paths
from farlane.models.manifest.values import Manifest
from farlane.models.names import check_name


def check_manifest(manifest: Manifest) -> None:
    """Check a manifest.

    Raises:
        InvalidInput: a path, name, licence, metric or size that none may have.
    """
    check_name(manifest.name)
    _check_files(manifest)
    _check_licence(manifest)
    _check_texts(manifest)
    _check_metrics(manifest.metrics)
    for what, specs in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        if len(specs) > values.MAX_TENSOR_SPECS or any(
            len(one.shape) > values.MAX_DIMENSIONS for one in specs
        ):
            raise InvalidInput(f"too many {what} or dimensions; expected at most {values.MAX_TENSOR_SPECS} and "
                               f"{values.MAX_DIMENSIONS}")  # fmt: skip
    if len(manifest.parents) > values.MAX_PARENTS:
        raise InvalidInput(f"{len(manifest.parents)} parents; expected at most {values.MAX_PARENTS}")
    if manifest.encryption is not None and len(manifest.encryption.recipients) > values.MAX_RECIPIENTS:
        raise InvalidInput(
            f"{len(manifest.encryption.recipients)} recipients of a private version; expected at most "
            f"{values.MAX_RECIPIENTS}: share it with fewer, or with nodes instead of people"
        )
    if len({one.cid for one in manifest.parents}) != len(manifest.parents):
        raise InvalidInput("one version stands twice among the parents: name each once")


def _check_files(manifest: Manifest) -> None:
    if not 0 < len(manifest.files) <= values.MAX_FILES:
        raise InvalidInput(f"a version has 1 to {values.MAX_FILES} files, not {len(manifest.files)}")
    paths = [one.path for one in manifest.files]
    check_paths(paths)
    if paths != sorted(paths):
        raise InvalidInput("the files of a manifest are in the order of their paths")
    for one in manifest.files:
        if not 0 <= one.size <= values.MAX_SIZE_BYTES or len(one.sha256) != 32:
            raise InvalidInput(f"the file {one.path!r} has an impossible size or no SHA-256")
    for what, path in (("card", manifest.card), ("licence text", manifest.licence.file)):
        if path and manifest.file(path) is None:
            raise InvalidInput(f"the {what} {path!r} is none of the version's files")


def _check_licence(manifest: Manifest) -> None:
    licence = manifest.licence
    if licence.expression and check_expression(licence.expression) != licence.expression:
        raise InvalidInput(
            f"the licence {licence.expression!r} is not written as {check_expression(licence.expression)!r}"
        )
    if licence.acceptance and not licence.expression:
        raise InvalidInput(
            "a version that nobody may use without accepting its licence must name that licence"
        )


def _check_texts(manifest: Manifest) -> None:
    for text in (manifest.format, manifest.task, manifest.runtime, manifest.dtype, manifest.publisher):
        if len(text.encode(errors="replace")) > values.MAX_TEXT_BYTES or not text.isprintable():
            raise InvalidInput(f"{text[:80]!r} is too long or has control characters")
    if not 0 <= manifest.created <= values.MAX_SIZE_BYTES:
        raise InvalidInput(f"created at {manifest.created}: expected Unix seconds")


def _check_metrics(metrics: Iterable[tuple[str, float]]) -> None:
    names = []
    for name, value in metrics:
        if not math.isfinite(value):
            raise InvalidInput(f"the metric {name[:80]!r} is {value}; expected a finite number: leave it out")
        if not 0 < len(name.encode(errors="replace")) <= values.MAX_TEXT_BYTES or not name.isprintable():
            raise InvalidInput(f"{name[:80]!r} is no name for a metric")
        names.append(name)
    if len(names) > values.MAX_METRICS or len(set(names)) != len(names):
        raise InvalidInput(f"a metric stands twice, or there are more than {values.MAX_METRICS}")
    if names != sorted(names):
        raise InvalidInput("the metrics of a manifest are in the order of their names")
