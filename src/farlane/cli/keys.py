"""`farlane key`: the keys that own, fund and sign, kept as keystore v3 files under a password."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.key_options import (
    key_ring,
    known_password,
    new_password,
    password_option,
    signing_key,
    unsafe_option,
)
from farlane.cli.output import json_option, print_json, print_table, say
from farlane.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from farlane.ledger.accounts import Address

name_argument = click.argument("name")
_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def key() -> None:
    """Keys of accounts, in FARLANE_KEYS or ~/.config/farlane/keys, each in a file under a password."""


@key.command()
@name_argument
@password_option
@json_option
def new(name: str, password_file: Path | None, as_json: bool) -> None:
    """Make a new key and keep it as NAME. A lost password cannot be replaced: keep a copy of both."""
    ring = key_ring()
    ring.check_free(name)  # before a password is asked for
    made = ring.create(name, new_password(name, password_file))
    _say_key(name, made.address, as_json)


@key.command()
@json_option
def ls(as_json: bool) -> None:
    """List the keys. No password is needed, and no file is proven to hold the key it says."""
    found = key_ring().list_keys()
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"no keys in {key_ring().directory}; `farlane key new NAME` makes one")
        return
    print_table(
        ("NAME", "ADDRESS", "STATE"),
        [
            (one.name, one.address or "-", one.problem or ("retired" if one.retired else "in use"))
            for one in found
        ],
    )


@key.command()
@name_argument
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the address of the key NAME (a name or an address), nothing else. No password is needed."""
    found = key_ring().find(name)
    if as_json:
        print_json(found)
        return
    click.echo(found.address)


@key.command("import")
@name_argument
@click.argument("file", type=_EXISTING)
@click.option(
    "--file-password-file",
    type=_FILE,
    metavar="FILE",
    help="Read the password of FILE from this file (0600 or 0400) [default: it is asked for].",
)
@password_option
@json_option
def import_(
    name: str, file: Path, file_password_file: Path | None, password_file: Path | None, as_json: bool
) -> None:
    """Keep the key of a wallet's keystore FILE (v3) as NAME, under a password of its own. FILE stays as it is."""
    from farlane.ledger.keystore import check_key_name
    from farlane.ledger.passwords import file_password, prompt_password

    check_key_name(name)
    there = file_password(file_password_file) if file_password_file else prompt_password(str(file))
    made = key_ring().import_file(name, file, there, new_password(name, password_file))
    _say_key(name, made.address, as_json)


@key.command()
@name_argument
@click.argument("file", type=_FILE)
@click.option(
    "--file-password-file",
    type=_FILE,
    metavar="FILE",
    help="Read the password that FILE gets from this file (0600 or 0400) [default: it is asked for].",
)
@password_option
@json_option
def export(
    name: str, file: Path, file_password_file: Path | None, password_file: Path | None, as_json: bool
) -> None:
    """Write the key NAME to a new keystore FILE (v3) under another password, for a wallet or a machine."""
    from farlane.ledger.passwords import file_password, prompt_password

    ring = key_ring()
    ring.find(name)
    here = known_password(name, password_file)
    there = file_password(file_password_file) if file_password_file else prompt_password(str(file), new=True)
    address = ring.export_file(name, here, file, there)
    if as_json:
        print_json({"name": name, "address": address, "file": file.absolute()})
        return
    click.echo(f"{address} written to {file}")


@key.command()
@name_argument
@password_option
@json_option
def rotate(name: str, password_file: Path | None, as_json: bool) -> None:
    """Put a new key in the place of NAME. The old one is kept as NAME.retired-DATE, under the password it had.

    What the old address owns stays there: move it, and sign delegations anew.
    """
    ring = key_ring()
    ring.find(name)
    made, old = ring.rotate(name, new_password(name, password_file))
    if as_json:
        print_json({"name": name, "address": made.address, "retired": old})
        return
    click.echo(f"{name} is now {made.address}")
    click.echo(f"{old.name} is {old.address}: what it owns stays there")


@key.command()
@name_argument
@click.argument("node_address")
@click.option("--network", type=_EXISTING, required=True, metavar="FILE", help="The network file.")
@click.option(
    "--expires",
    required=True,
    metavar="WHEN",
    help="Until when: 90d from now, or 2030-01-31T12:00:00+00:00. It cannot be taken back before.",
)
@click.option("--out", "-o", type=_FILE, required=True, help="The file to write; it must not exist.")
@password_option
@unsafe_option
@json_option
def delegate(
    name: str, node_address: str, network: Path, expires: str, out: Path, password_file: Path | None, unsafe: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Let the key NODE_ADDRESS of a node sign what it did in the name of NAME, who is paid. The node loads the file.

    So the key that earns stays off the node.
    """
    from farlane.kit.new_files import write_new
    from farlane.ledger.accounts import parse_address
    from farlane.ledger.delegations import delegation_to_json, sign_delegation
    from farlane.ledger.deploy import deployment_from_json

    node, until = parse_address(node_address), _expiry(expires, time.time())
    domain = deployment_from_json(network.read_bytes()).domain
    if out.exists() or not out.parent.is_dir():
        raise _unwritable(out)
    signed = sign_delegation(domain, signing_key(name, password_file, unsafe), node, until)
    try:
        write_new(out, delegation_to_json(signed), mode=0o644)
    except FileExistsError:
        raise _unwritable(out) from None
    if as_json:
        print_json({"delegation": signed.delegation, "network": domain.network, "file": out.absolute()})
        return
    end = datetime.fromtimestamp(until, UTC).isoformat()
    click.echo(f"{node} may sign for {signed.delegation.provider} until {end}: {out}")


def _expiry(text: str, now: float) -> int:
    """Return unix seconds of a duration from now, or of a moment with its time zone."""
    from farlane.domain.units import parse_seconds

    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        if text.strip().isdecimal():
            raise InvalidInput(f"--expires {text} has no unit; write it like {text.strip()}d") from None
        return int(now + parse_seconds(text))
    if moment.tzinfo is None:
        raise InvalidInput(f"--expires {text} has no time zone; write it like {moment.isoformat()}+00:00")
    if moment.timestamp() <= now:
        raise InvalidInput(f"--expires {text} has passed; expected a moment to come")
    return int(moment.timestamp())


def _unwritable(out: Path) -> InvalidInput | NotFound:
    if not out.parent.is_dir():
        return NotFound(f"there is no directory {out.parent}: make it first", path=str(out))
    return InvalidInput(
        f"{out} is there already and is never overwritten: choose another name", path=str(out)
    )


def _say_key(name: str, address: Address, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "address": address})
        return
    click.echo(f"{name}  {address}")
