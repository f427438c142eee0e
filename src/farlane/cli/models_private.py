"""`farlane models recipient`, `share` and `revoke`: who can read a private version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.key_options import password_option, signing_key
from farlane.cli.models_options import author, bytes_text, opened, repository_option, version_document
from farlane.cli.output import counted, json_option, print_json, say
from farlane.cli.recipient_options import chosen_recipients, nodes_options, own_keys
from farlane.errors import InvalidInput
from farlane.sdk.context import data_directory

if TYPE_CHECKING:
    from farlane.app.model_signing import AccountSigner
    from farlane.models.catalog.values import Version
    from farlane.models.private.recipients import Recipient, RecipientKey
    from farlane.models.repository import Repository


@click.command()
@click.option(
    "--new", is_flag=True, help="Make a new key; the old one is kept, and reads what was shared with it."
)
@json_option
def recipient(new: bool, as_json: bool) -> None:
    """Show the key that others share private models with you by; it is made when it is first asked for.

    What is shown may be given to everybody. The secret half stays in the data directory, in recipient.key.
    """
    from farlane.models.private.recipients import recipient_key, renewed_recipient_key

    key = (renewed_recipient_key if new else recipient_key)(data_directory())
    if as_json:
        print_json({"recipient": key.recipient.text})
        return
    click.echo(key.recipient.text)


@click.command()
@click.argument("reference")
@click.option("--with", "recipients", multiple=True, metavar="RECIPIENT",
              help="What `farlane models recipient` shows them; may be repeated.")  # fmt: skip
@nodes_options
@click.option("--tag", "alias", metavar="ALIAS", help="Put this alias on the new version.")
@click.option("--key", "key_name", metavar="NAME", help="Which of your keys signs it [default: unsigned].")
@password_option
@repository_option
@json_option
def share(
    reference: str, recipients: Sequence[str], with_nodes: Sequence[str], with_network: bool, as_json: bool,
    directory: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Let more recipients, or nodes, read the private version REFERENCE: the same files, as the next version."""
    from farlane.models.private.versions import share as put

    chosen = chosen_recipients(recipients, with_nodes, with_network)
    if not chosen:
        raise InvalidInput("say with whom: --with RECIPIENT, --with-node NODE or --with-network")
    signer = _signer(options)
    with opened(directory) as repository:
        before, own, current = _reading(repository, reference)
        version = put(repository, reference, (*chosen, current), own, signer=signer, author=author())
        _retag(repository, version, options["alias"])
        readers = len(_readers(repository, version))
    if as_json:
        print_json({**version_document(version), "recipients": readers, "new": version != before})
        return
    click.echo(f"{version.name}@v{version.number} {version.manifest.text}")
    if version == before:
        say("they could read it already")
    else:
        say(f"{counted(readers, 'recipient')} can read it; v{before.number} is as it was")


@click.command()
@click.argument("reference")
@click.option("--from", "recipients", multiple=True, metavar="RECIPIENT", help="As `farlane models show` lists "
              "them; may be repeated.")  # fmt: skip
@click.option("--from-node", "nodes", multiple=True, metavar="NODE", help="A node, by its name or id.")
@click.option("--tag", "alias", metavar="ALIAS", help="Put this alias on the new version.")
@click.option("--key", "key_name", metavar="NAME", help="Which of your keys signs it [default: unsigned].")
@password_option
@repository_option
@json_option
def revoke(
    reference: str, recipients: Sequence[str], nodes: Sequence[str], as_json: bool, directory: Path | None,
    **options: Any,
) -> None:  # fmt: skip
    """Encrypt the private version REFERENCE again, for all but some recipients, as the next version.

    What they could read before they can go on reading, wherever they kept it.
    """
    from farlane.models.private.versions import revoke as put

    chosen = chosen_recipients(recipients, nodes, network=False)
    if not chosen:
        raise InvalidInput("say from whom: --from RECIPIENT or --from-node NODE")
    signer = _signer(options)
    with opened(directory) as repository:
        before, own, _ = _reading(repository, reference)
        added = put(repository, reference, chosen, own, signer=signer, author=author())
        _retag(repository, added.version, options["alias"])
        readers = len(_readers(repository, added.version))
        aliases = repository.catalog.aliases(before.name)
    left = sorted(alias for alias, at in aliases.items() if at == before.manifest)
    if as_json:
        print_json({**version_document(added.version), "recipients": readers, "new_bytes": added.new_bytes})
        return
    click.echo(f"{added.version.name}@v{added.version.number} {added.version.manifest.text}")
    say(
        f"{counted(readers, 'recipient')} can read it; all {bytes_text(added.size_bytes)} were encrypted again"
    )
    if left:
        say(f"v{before.number} is what {', '.join(left)} still points to: `farlane models tag` moves it")


def _signer(options: dict[str, Any]) -> AccountSigner | None:
    from farlane.app.model_signing import AccountSigner

    name = options["key_name"]
    return AccountSigner(signing_key(name, options["password_file"])) if name else None


def _reading(repository: Repository, reference: str) -> tuple[Version, RecipientKey, Recipient]:
    """Return a version, which of our keys reads it, and what names us from now on."""
    from farlane.models.private.wrapping import key_among

    version, manifest = repository.resolve(reference)
    keys = own_keys()
    own = keys[0] if manifest.encryption is None else key_among(manifest.encryption, keys)
    return version, own, keys[0].recipient


def _readers(repository: Repository, version: Version) -> tuple[Recipient, ...]:
    from farlane.models.private.versions import readers_of

    return readers_of(repository.manifest(version))


def _retag(repository: Repository, version: Version, alias: str | None) -> None:
    if alias:
        repository.catalog.move(version.name, alias, version.manifest, author())
