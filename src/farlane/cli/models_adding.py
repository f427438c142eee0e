"""`farlane models add`, `export` and `pull`: versions into a repository, out of it, and from one to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.key_options import password_option, signing_key
from farlane.cli.models_chain import (
    ChainPlace,
    chain_key,
    chain_options,
    check_publisher,
    register,
    resolved,
    say_registered,
)
from farlane.cli.models_deltas import delta_document, echo_deltas, make_deltas
from farlane.cli.models_options import (
    author,
    bytes_text,
    moved_text,
    opened,
    progress_bar,
    repository_option,
    version_document,
)
from farlane.cli.output import counted, json_option, print_json
from farlane.cli.recipient_options import chosen_recipients, nodes_options, own_keys
from farlane.errors import InvalidInput

if TYPE_CHECKING:
    from farlane.app.chained_models import ChainedVersion
    from farlane.app.model_signing import AccountSigner
    from farlane.models.adding import Added, Description, OnProgress
    from farlane.models.catalog.values import DeltaRow, Version
    from farlane.models.manifest.values import Manifest, Parent
    from farlane.models.private.recipients import Recipient
    from farlane.models.repository import Repository

FROM = ("folder", "oci", "ollama")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--task", help="What it is for, such as text-generation [default: what its README.md says].")
@click.option("--runtime", help="What serves it [default: what its files ask for].")
@click.option("--licence", help="SPDX expression [default: what its README.md says].")
@click.option(
    "--acceptance", is_flag=True, default=None, help="Nobody may use it without accepting the licence."
)
@click.option(
    "--parent", "parents", multiple=True, metavar="RELATION=VERSION",
    help="What it was made from: finetune, adapter, quantise or merge, and a version; may be repeated.",
)  # fmt: skip
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME=VALUE", help="A measured value; may be repeated."
)
@click.option("--tag", "alias", metavar="ALIAS", help="Put this alias on the new version.")
@click.option(
    "--private", is_flag=True, help="Encrypt it: you read it, and those named by the next three options."
)
@click.option("--recipient", "recipients", multiple=True, metavar="RECIPIENT",
              help="What `farlane models recipient` shows them; may be repeated.")  # fmt: skip
@nodes_options
@click.option("--delta/--no-delta", "with_delta", default=True, show_default=True,
              help="Make deltas from the version before it and its parents, where they save.")  # fmt: skip
@click.option("--key", "key_name", metavar="NAME", help="Which of your keys signs it [default: unsigned].")
@password_option
@click.option("--from", "layout", type=click.Choice(FROM), default="folder", show_default=True,
              help="What SOURCE is: a folder or file, an OCI layout, or Ollama's store (with --ollama).")  # fmt: skip
@click.option("--ollama", metavar="MODEL:TAG", help="With --from ollama: which of its models.")
@chain_options("Register it, and the alias of --tag, on the network's chain as well.")
@repository_option
@json_option
def add(
    source: Path, name: str, directory: Path | None, as_json: bool, key_name: str | None,
    password_file: Path | None, alias: str | None, with_delta: bool, place: ChainPlace | None, **options: Any,
) -> None:  # fmt: skip
    """Add the folder or file SOURCE as the next version of the model NAME.

    Formats are told by content; pickles are refused. Nothing leaves this machine. What --task, --licence, --parent and
    --metric say of a private version is not encrypted.
    """
    import tempfile

    from farlane.app.model_signing import AccountSigner

    readers = _readers(options)
    if place is not None and readers is not None:
        raise InvalidInput(
            "a private version is written on no chain, which everybody reads: leave --chain out"
        )
    key = chain_key(place, key_name, password_file) or (key_name and signing_key(key_name, password_file))
    signer = AccountSigner(key) if key else None
    with opened(directory) as repository, tempfile.TemporaryDirectory(prefix="farlane-import-") as spare:
        described = _description(repository, options)
        folder = _unpacked(source, options["layout"], options["ollama"], Path(spare) / "model")
        with progress_bar("reading", as_json) as tell:
            added = _put(repository, folder, name, described, readers, signer=signer, on_progress=tell)
        deltas = make_deltas(repository, added, as_json) if with_delta else ()
        if alias:  # after the deltas: nodes that follow it fetch at once
            repository.catalog.move(name, alias, added.version.manifest, author())
        chained = register(place, key, added.version, added.manifest, alias) if place and key else {}
        _tell_added(repository, added, deltas, chained, as_json)
    if chained:
        say_registered(added.version, chained, alias)


def _tell_added(
    repository: Repository, added: Added, deltas: tuple[DeltaRow, ...], chained: dict[str, Any], as_json: bool
) -> None:
    version, manifest = added.version, added.manifest
    if as_json:
        print_json({
            **version_document(version, manifest), "new_bytes": added.new_bytes,
            "deltas": [delta_document(one) for one in deltas], **chained,
        })  # fmt: skip
        return
    click.echo(f"{version.name}@v{version.number} {version.manifest.text}")
    click.echo(
        f"{bytes_text(added.size_bytes)} in {counted(len(manifest.files), 'file')}, {bytes_text(added.new_bytes)} new"
    )
    echo_deltas(repository, deltas)


def _readers(options: dict[str, Any]) -> tuple[Recipient, ...] | None:
    """Return who besides us can read the version, None for everybody."""
    named = options["recipients"], options["with_nodes"], options["with_network"]
    if options["private"]:
        return chosen_recipients(*named)
    if any(named):
        raise InvalidInput("only a private version has recipients: add --private, or name none")
    return None


def _put(
    repository: Repository, folder: Path, name: str, said: Description, readers: tuple[Recipient, ...] | None,
    *, signer: AccountSigner | None, on_progress: OnProgress | None,
) -> Added:  # fmt: skip
    from farlane.models.adding import add as put
    from farlane.models.private.versions import add_private

    by = author()
    if readers is None:
        return put(repository, folder, name, said, signer=signer, author=by, on_progress=on_progress)
    own = own_keys()[0]
    return add_private(
        repository, folder, name, readers, own, said, signer=signer, author=by, on_progress=on_progress
    )


def _unpacked(source: Path, layout: str, model: str | None, spare: Path) -> Path:
    if layout == "oci":
        from farlane.models.exchange.oci import import_oci

        import_oci(source, spare)
        return spare
    if layout == "ollama":
        from farlane.models.exchange.ollama import import_ollama

        name, mark, tag = (model or "").partition(":")
        if not name:
            raise InvalidInput("--from ollama needs --ollama MODEL:TAG: which of its models is meant")
        import_ollama(source, name, tag if mark else "latest", spare)
        return spare
    return source


def _description(repository: Repository, options: dict[str, Any]) -> Description:
    from farlane.models.adding import Description

    return Description(
        task=options["task"],
        runtime=options["runtime"],
        licence=options["licence"],
        acceptance=options["acceptance"],
        parents=tuple(_parent(repository, text) for text in options["parents"]),
        metrics=tuple(_metric(text) for text in options["metrics"]),
    )


def _parent(repository: Repository, text: str) -> Parent:
    from farlane.models.manifest.values import Parent, Relation

    relation, mark, reference = text.partition("=")
    if not mark or relation not in set(Relation):
        raise InvalidInput(f"--parent {text!r}: expected RELATION=VERSION with one of {', '.join(Relation)}")
    return Parent(cid=repository.catalog.resolve(reference).manifest, relation=Relation(relation))


def _metric(text: str) -> tuple[str, float]:
    name, mark, value = text.partition("=")
    try:
        return name, float(value if mark else "none")
    except ValueError as error:
        raise InvalidInput(f"--metric {text!r}: expected NAME=VALUE with a number") from error


@click.command()
@click.argument("reference")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--as", "layout", type=click.Choice(FROM), default="folder", show_default=True,
              help="As what: a folder, an OCI layout with ModelPack types, or into Ollama's store.")  # fmt: skip
@click.option("--accept-licence", metavar="SPDX", help="Accept its licence, by name.")
@repository_option
@json_option
def export(
    reference: str,
    target: Path,
    layout: str,
    accept_licence: str | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Write the version REFERENCE to the new folder TARGET, or into the Ollama store TARGET; bytes are checked.

    A private version is decrypted for those who can read it, into a folder that only you can enter.
    """
    from farlane.models.exporting import export_folder

    with opened(directory) as repository:
        version, manifest = repository.resolve(reference)
        if accept_licence:
            repository.accept(version, accept_licence)
        repository.require_acceptance(version, manifest)
        if layout == "oci":
            from farlane.models.exchange.oci import export_oci

            export_oci(repository, manifest, version.manifest.text, f"v{version.number}", target)
        elif layout == "ollama":
            from farlane.models.exchange.ollama import export_ollama

            export_ollama(repository, manifest, f"v{version.number}", target)
        elif manifest.encryption is not None:
            from farlane.models.private.versions import open_version
            from farlane.models.private.wrapping import key_among

            target.parent.mkdir(parents=True, exist_ok=True)
            open_version(repository, manifest, key_among(manifest.encryption, own_keys()), target)
        else:
            with progress_bar("writing", as_json) as tell:
                export_folder(repository, manifest, target, tell)
    if as_json:
        print_json({**version_document(version), "path": target, "layout": layout})
        return
    click.echo(f"{version.name}@v{version.number} is in {target}")


@click.command()
@click.argument("reference")
@click.option("--from", "source", type=click.Path(exists=True, path_type=Path), metavar="DIR",
              help="Another repository on this machine or a mounted disk [default: the network's hub].")  # fmt: skip
@click.option("--accept-licence", metavar="SPDX", help="Accept its licence, by name.")
@chain_options(
    "Ask the network's chain which version REFERENCE is; only one that the name's owner there signed."
)
@repository_option
@json_option
def pull(
    reference: str, source: Path | None, accept_licence: str | None, directory: Path | None, as_json: bool,
    place: ChainPlace | None,
) -> None:  # fmt: skip
    """Take the version REFERENCE from the network's hub; its signature and every block are checked.

    Only what is missing here is fetched. Broken off anywhere, the same command goes on.
    """
    from farlane.cli.models_hub import pull_from_hub

    found = resolved(place, reference) if place else None
    with opened(directory) as repository, progress_bar("pulling", as_json) as tell:
        if found is not None:
            reference = _on_the_owners_word(repository, found, source)
        if source is None:
            taken, manifest, came = pull_from_hub(repository, reference, accept_licence or "", tell)
        else:
            taken, manifest = _pulled(repository, source, reference, accept_licence, tell)
            came = manifest.size_bytes
    if as_json:
        print_json({**version_document(taken, manifest), "received_bytes": came})
        return
    click.echo(f"{taken.name}@v{taken.number} {taken.manifest.text}")
    if source is None:
        click.echo(moved_text(came, manifest.size_bytes, "came", "here"))


def _on_the_owners_word(repository: Repository, found: ChainedVersion, source: Path | None) -> str:
    """Return the reference of what the chain says, once it is seen that the owner of the name there has signed it."""
    from farlane.cli.models_hub import described_at_hub

    reference = f"{found.name}@{found.cid.text}"
    if source is None:
        version, _, _ = described_at_hub(reference, None)
    else:
        with opened(source) as other:
            version = other.catalog.resolve(reference)
    check_publisher(found, version)
    repository.catalog.trust(found.name, found.owner, author())
    return reference


def _pulled(
    repository: Repository, source: Path, reference: str, licence: str | None, tell: OnProgress | None
) -> tuple[Version, Manifest]:
    from farlane.models.exporting import pull as take

    with opened(source) as other:
        version = other.catalog.resolve(reference)
        if licence:
            other.accept(version, licence)
            repository.catalog.accept("", other.manifest(version).licence.expression, version.manifest)
        return take(repository, other, reference, author=author(), on_progress=tell)
