"""`farlane models ipfs`: versions into a running kubo, out of it or of gateways, and under IPNS names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farlane.cli.models_ipfs_gateway import serve
from farlane.cli.models_options import (
    author,
    bytes_text,
    opened,
    progress_bar,
    repository_option,
    version_document,
)
from farlane.cli.output import counted, json_option, print_json, say
from farlane.errors import InvalidInput

if TYPE_CHECKING:
    from farlane.models.ipfs.fetching import Sources
    from farlane.models.ipfs.rpc import KuboRpc

F = TypeVar("F", bound=Callable[..., Any])
API_VARIABLE = "FARLANE_IPFS_API"
SECRET_VARIABLE = "FARLANE_IPFS_SECRET"


def api_option(command: F) -> F:
    """Add `--api`."""
    return click.option(
        "--api",
        envvar=API_VARIABLE,
        metavar="URL",
        help=f"The RPC API of a running kubo [or {API_VARIABLE}; default: http://127.0.0.1:5001].",
    )(command)


def kubo_at(api: str | None) -> KuboRpc:
    """Return the kubo that a command speaks to; its secret, if it wants one, is in the environment."""
    import os

    from farlane.models.ipfs.rpc import DEFAULT_URL, KuboRpc

    return KuboRpc(api or DEFAULT_URL, secret=os.environ.get(SECRET_VARIABLE))


@click.group()
def ipfs() -> None:
    """Exchange versions with IPFS: a running kubo, any trustless gateway, IPNS names.

    A kubo with API.Authorizations is given its secret by FARLANE_IPFS_SECRET.
    """


@ipfs.command()
@click.argument("reference")
@api_option
@click.option(
    "--pin/--no-pin", default=True, show_default=True, help="Keep it from the kubo's garbage collection."
)
@repository_option
@json_option
def push(reference: str, api: str | None, pin: bool, directory: Path | None, as_json: bool) -> None:
    """Send the version REFERENCE, and the public versions it was made from, to a kubo, and pin it there.

    Private versions, and those whose licence you have not accepted, are refused before anything is sent.
    """
    from farlane.models.ipfs.pushing import push as send

    rpc = kubo_at(api)
    with opened(directory) as repository, progress_bar("sending", as_json) as tell:
        pushed = send(repository, reference, rpc, pin=pin, on_progress=tell)
    if as_json:
        print_json(
            {
                **version_document(pushed.version), "address": f"ipfs://{pushed.root.text}", "kubo": rpc.place,
                "sent_blocks": pushed.sent_blocks, "sent_bytes": pushed.sent_bytes,
                "pinned": [cid.text for cid in pushed.pinned], "left_out": [cid.text for cid in pushed.left_out],
            }
        )  # fmt: skip
        return
    click.echo(f"ipfs://{pushed.root.text}")
    sent = f"{bytes_text(pushed.sent_bytes)} in {counted(pushed.sent_blocks, 'block')} sent"
    say(
        f"{sent if pushed.sent_blocks else 'it was there already'}, {'pinned' if pushed.pinned else 'not pinned'}"
    )
    if pushed.left_out:
        say(
            f"{counted(len(pushed.left_out), 'version')} it was made from stay here: private, missing, or under a "
            "licence you have not accepted"
        )


@ipfs.command()
@click.argument("address")
@click.option("--gateway", "gateways", multiple=True, metavar="URL",
              help="A trustless gateway, asked instead of a kubo; may be repeated.")  # fmt: skip
@api_option
@click.option("--accept-licence", "accept", default="", metavar="SPDX", help="Accept its licence, by name.")
@click.option("--offline", is_flag=True, help="Resolve an IPNS name from the kubo's own store alone.")
@repository_option
@json_option
def pull(
    address: str, gateways: tuple[str, ...], api: str | None, accept: str, offline: bool,
    directory: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Fetch the version at ADDRESS: ipfs://CID, a CID, or ipns://NAME.

    Signature and licence are checked before its files are asked for, and every block as it comes. What came is kept: a
    pull that broke off goes on where it ended. A gateway that sends wrong bytes is asked nothing more.
    """
    from farlane.models.ipfs.naming import resolve
    from farlane.models.ipfs.pulling import pull as take

    sources = _sources(gateways, api)
    cid = resolve(address, gateways, None if gateways else kubo_at(api), offline=offline)
    with opened(directory) as repository, progress_bar("fetching", as_json) as tell:
        pulled = take(repository, cid, sources, accept=accept, author=author(), on_progress=tell)
    for one in pulled.dropped:
        say(f"{one} sent wrong bytes and was asked nothing more")
    if as_json:
        document = version_document(pulled.version, pulled.manifest)
        print_json({**document, "fetched_bytes": pulled.fetched_bytes, "dropped": list(pulled.dropped)})
        return
    click.echo(f"{pulled.version.name}@v{pulled.version.number} {pulled.version.manifest.text}")
    fetched, total = bytes_text(pulled.fetched_bytes), pulled.manifest.size_bytes
    here = pulled.fetched_bytes < total
    say(f"{fetched} of {bytes_text(total)} fetched, the rest was here" if here else f"{fetched} fetched")


def _sources(urls: tuple[str, ...], api: str | None) -> Sources:
    from farlane.models.ipfs.fetching import gateways, kubo

    if not urls:
        return kubo(kubo_at(api))
    source = click.get_current_context().get_parameter_source("api")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise InvalidInput("both --gateway and --api are given: name gateways, or one kubo")
    return gateways(urls)


@ipfs.command()
@click.argument("reference")
@api_option
@click.option(
    "--allow-offline", is_flag=True, help="A kubo that can tell nobody keeps the record for itself."
)
@repository_option
@json_option
def name(reference: str, api: str | None, allow_offline: bool, directory: Path | None, as_json: bool) -> None:
    """Let an IPNS name point to where the alias REFERENCE (NAME@ALIAS) stands; again when the alias has moved.

    Each alias has a key of its own in the kubo, made when it is first published.
    """
    from farlane.models.ipfs.pushing import publish_alias

    with opened(directory) as repository:
        version, record = publish_alias(repository, reference, kubo_at(api), offline=allow_offline)
    if as_json:
        print_json({**version_document(version), "name": f"ipns://{record.name}", "path": record.path})
        return
    click.echo(f"ipns://{record.name}")
    say(f"it leads to {version.name}@v{version.number}, {record.path}")


ipfs.add_command(serve)
