"""A version out of IPFS into a repository: first its manifest and signature, then its files, block by block."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from farlane.errors import Corrupted, NotFound, PermissionRefused
from farlane.models.adding import OnProgress, Progress
from farlane.models.catalog.values import Author, Version
from farlane.models.cid import Cid
from farlane.models.formats.sniff import inspect_file
from farlane.models.ipfs.fetching import FileFetch, Sources
from farlane.models.ipfs.signed_version import read_published
from farlane.models.manifest.codec import encode
from farlane.models.manifest.licences import require_acceptance
from farlane.models.manifest.paths import check_paths
from farlane.models.manifest.signature import Signature, check_publisher
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.repository import Repository
from farlane.models.trees import tree
from farlane.models.unixfs.file_dag import FileDag

BATCH_FILES = 32
"""Files whose blocks are fetched together; each has two files open meanwhile."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version that came in: bytes that were fetched for its files, and sources that sent wrong bytes."""

    version: Version
    manifest: Manifest
    fetched_bytes: int
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    cid: Cid
    manifest: Manifest
    signature: Signature | None


def pull(
    repository: Repository,
    cid: Cid,
    sources: Sources,
    *,
    accept: str = "",
    author: Author | None = None,
    who: str = "",
    on_progress: OnProgress | None = None,
) -> Pulled:
    """Fetch a version and name it; what came of one that broke off is kept, and the next try goes on from there.

    To be called from a thread without an event loop.

    Args:
        repository: where it goes.
        cid: of a signed version's block, or of the manifest of an unsigned one.
        sources: who is asked.
        accept: the licence that is accepted, by name; empty for none.
        author: who adds it.
        who: whose acceptance of the licence counts.
        on_progress: called as blocks come.

    Raises:
        InvalidInput: the CID is of no version; a file of it is what no model may have, such as a pickle.
        InvalidSignature: who signed it is not who it names, or its signature is not there.
        PermissionRefused: its licence must be accepted first, or the name is another publisher's here.
        NotFound, Unavailable, DeadlineExceeded: nobody has it, or nobody answers.
        Corrupted: what all sources sent is not what the manifest says.
        DiskFull: no room.
    """
    found = _Found(*read_published(sources.first, cid))
    _check(repository, found, accept, who)
    with repository.blocks.hold(found.cid):
        repository.blocks.put(found.cid, encode(found.manifest))
        fetched, plain = _fetch(repository, found.manifest, sources, on_progress)
        root = tree([(one.path, one.ipfs_cid, _dag_bytes(plain[one.sha256])) for one in found.manifest.files])
        if root.root != found.manifest.root:
            raise Corrupted(f"the directory of {found.manifest.name} is not what its manifest says")
        repository.blocks.put_many(root.nodes.items())
        version = repository.publish(found.manifest, found.signature, author)
    return Pulled(version, found.manifest, fetched, sources.dropped)


def _check(repository: Repository, found: _Found, accept: str, who: str) -> None:
    """Refuse what must not come in before a file is asked for."""
    manifest = found.manifest
    check_paths(one.path for one in manifest.files)
    if manifest.publisher and found.signature is None:
        raise PermissionRefused(
            f"{found.cid.text} is the bare manifest of {manifest.name}, which {manifest.publisher} signed: pull the "
            "address that `farlane models ipfs push` showed its publisher, which leads to the signature, too"
        )
    repository.check_signature(manifest, found.cid, found.signature)
    with contextlib.suppress(NotFound):
        check_publisher(manifest.name, manifest.publisher, repository.catalog.model(manifest.name).publisher)
    expression = manifest.licence.expression
    if accept:
        if accept.lower() != expression.lower():
            raise PermissionRefused(
                f"{manifest.name} has the licence {expression or '(none)'}, not {accept}: read that one, and accept it "
                "by its name"
            )
        repository.catalog.accept(who, expression, found.cid)
    require_acceptance(
        manifest, repository.catalog.accepted(who, found.cid), f"accept it with --accept-licence {expression}"
    )


def _fetch(
    repository: Repository, manifest: Manifest, sources: Sources, on_progress: OnProgress | None
) -> tuple[int, dict[bytes, FileDag]]:
    """Bring all files; return the bytes that were fetched, and the plain DAG of each file by its SHA-256."""
    files = list({one.sha256: one for one in manifest.files}.values())
    total, fetched, done = sum(one.size for one in files), 0, 0
    plain: dict[bytes, FileDag] = {}

    def tell(path: str, count: int) -> None:
        if on_progress is not None:
            on_progress(Progress(path, done + count, total))

    for at in range(0, len(files), BATCH_FILES):
        batch = files[at : at + BATCH_FILES]
        fetch = FileFetch(repository.blocks, sources, tell)
        plain.update(fetch.outline(batch))
        fetched += fetch.run()
        for one in batch:
            _inspect(repository, one)
        done += sum(one.size for one in batch)
    return fetched, plain


def _inspect(repository: Repository, file: ModelFile) -> None:
    """Refuse a file that `farlane models add` would refuse, such as a pickle; it does not stay."""
    try:
        inspect_file(repository.file_path(file), file.path)
    except Exception:
        repository.blocks.delete_file(file.sha256.hex())
        raise


def _dag_bytes(plain: FileDag) -> int:
    return plain.size_bytes + sum(len(block) for block in plain.nodes.values())
