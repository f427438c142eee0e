"""`farlane models`: add, name, share, compare, export, pull and check versions in a repository on this machine."""

from __future__ import annotations

import click

from farlane.cli.models_adding import add, export, pull
from farlane.cli.models_chain import yank
from farlane.cli.models_hub import push
from farlane.cli.models_ipfs import ipfs
from farlane.cli.models_keeping import accept, gc, rm, trust, verify
from farlane.cli.models_private import recipient, revoke, share
from farlane.cli.models_reading import diff, lineage, log, ls, show
from farlane.cli.models_tagging import rollback, tag


@click.group()
def models() -> None:
    """Models: publish versions, move aliases between them, compare, export and check them.

    A version is written NAME (the newest), NAME@ALIAS, NAME@v3 or NAME@CID.
    """


for command in (
    add,
    ls,
    show,
    diff,
    log,
    tag,
    rollback,
    push,
    pull,
    export,
    rm,
    gc,
    verify,
    lineage,
    accept,
    trust,
    recipient,
    share,
    revoke,
    yank,
    ipfs,
):
    models.add_command(command)
