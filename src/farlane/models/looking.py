"""Looking into the files of a version: what one is, alone and beside the others."""

from __future__ import annotations

from farlane.models.formats.cutting import LEAST_CUT_BYTES
from farlane.models.formats.folders import joined
from farlane.models.formats.sniff import inspect_file
from farlane.models.formats.values import FileFormat, Inspection
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.repository import Repository


def looked_into(repository: Repository, manifest: Manifest, file: ModelFile) -> Inspection:
    """Return what a file of a version is, with the tensors that other files say it holds.

    Raises:
        NotFound: it, or one that says what it holds, is not here.
        InvalidInput, Corrupted: as `farlane.models.formats.sniff.inspect_file`.
    """
    files = [file]
    if file.format == FileFormat.PLAIN and file.size >= LEAST_CUT_BYTES:
        files += [one for one in manifest.files if one.format == FileFormat.ONNX]
    looks = {one.path: inspect_file(repository.file_path(one), one.path) for one in files}
    return joined(looks)[file.path]
