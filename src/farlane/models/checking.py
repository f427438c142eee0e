"""Checking a repository: every file of every version read and compared, and damaged ones replaced from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from farlane.errors import Corrupted, FarlaneError, NotFound
from farlane.kit.hashing import sha256_file
from farlane.models.blocks.checks import block_if_here
from farlane.models.blocks.describing import describe_file
from farlane.models.catalog.values import Version
from farlane.models.cid import Cid
from farlane.models.formats.sniff import inspect_file
from farlane.models.manifest.values import ModelFile
from farlane.models.repository import Repository
from farlane.models.transfer.outline import Lacking, outline
from farlane.models.unixfs.describing import Known
from farlane.models.unixfs.file_dag import FileDag


@dataclass(frozen=True, slots=True)
class Fault:
    """Something of a version that is missing or damaged: the path of a file, empty for the manifest."""

    version: Version
    path: str
    what: str


def check(repository: Repository, versions: list[Version] | None = None) -> Iterator[Fault | Version]:
    """Read everything and yield each fault, and each version when it is done; a file of several is read once.

    Args:
        repository: what is checked.
        versions: only these; None for all.
    """
    known: dict[bytes, str] = {}
    for version in versions if versions is not None else list(repository.versions()):
        try:
            manifest = repository.manifest(version)
            repository.check_signature(manifest, version.manifest, version.signature)
            repository.blocks.get(manifest.root)
        except FarlaneError as error:
            yield Fault(version, "", error.message)
            yield version
            continue
        for file in manifest.files:
            if file.sha256 not in known:
                known[file.sha256] = _fault(repository, file)
            if known[file.sha256]:
                yield Fault(version, file.path, known[file.sha256])
        yield version


def repair(repository: Repository, source: Repository, fault: Fault) -> None:
    """Take a damaged file of a version from another repository, checked.

    Raises:
        NotFound: it is not there either.
        Corrupted: it is damaged there too, or the manifest is.
    """
    manifest = source.manifest(fault.version) if not fault.path else repository.manifest(fault.version)
    if not fault.path:
        repository.blocks.put(fault.version.manifest, source.blocks.get(fault.version.manifest))
        repository.blocks.put(manifest.root, source.blocks.get(manifest.root))
        return
    file = manifest.file(fault.path)
    if file is None:
        raise Corrupted(f"{fault.path} is no file of {fault.version.name}@v{fault.version.number}")
    put_checked(repository, source, file, replace=True)


def put_checked(repository: Repository, source: Repository, file: ModelFile, *, replace: bool = False) -> int:
    """Take a file if it is the one a manifest names, and return the bytes of its plain DAG's blocks.

    Args:
        repository: where to.
        source: where it is, with the inner nodes of its DAGs, which say how it was cut.
        file: what it must be.
        replace: whether one of the same name that is there is removed first, since it is damaged.

    Raises:
        NotFound: it is not there.
        Corrupted: it is another file.
    """
    path = source.file_path(file)
    inspect_file(path, file.path)  # what would be refused when it is added is refused here, too
    dags = [Known(_dag(source, file, root)) for root in dict.fromkeys((file.cid, file.ipfs_cid))]
    try:
        described = describe_file(path, dags)
    except Corrupted as error:
        raise _another(file) from error
    if bytes.fromhex(described.sha256) != file.sha256 or described.size_bytes != file.size:
        raise _another(file)
    if replace:
        repository.blocks.delete_file(described.sha256)
    repository.blocks.add_file(path, described)
    plain = described.dags[-1]
    return plain.size_bytes + sum(len(block) for block in plain.nodes.values())


def _dag(source: Repository, file: ModelFile, root: Cid) -> FileDag:
    dag = outline(root, file.size, lambda cid: block_if_here(source.blocks, cid))
    if isinstance(dag, Lacking):
        raise NotFound(
            f"inner nodes of {file.path} are not there: take it from another repository", path=file.path
        )
    return dag


def _fault(repository: Repository, file: ModelFile) -> str:
    try:
        path = repository.file_path(file)
        if path.stat().st_size == file.size and sha256_file(path) == file.sha256:
            return ""
        return "its bytes are not what the manifest says"
    except (FarlaneError, OSError) as error:
        return str(error)


def _another(file: ModelFile) -> Corrupted:
    return Corrupted(
        f"{file.path} is not the file that the manifest names: pull it from elsewhere", path=file.path
    )
