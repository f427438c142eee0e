"""`farlane token`: the tokens of this machine's network, shown, made, listed and withdrawn."""

from __future__ import annotations

import click

from farlane.cli.network import directory_option, network_directory
from farlane.cli.output import json_option, print_json, print_table
from farlane.errors import InvalidInput


@click.group(invoke_without_command=True)
@click.option("--join", is_flag=True, help="The token for nodes instead, for `farlane join`.")
@click.option("--organisation", help="Make a new token, for a member of this organisation.")
@click.option("--publisher", help="Who submits with the new token [default: ORGANISATION/member].")
@click.option("--admin", is_flag=True, help="The new token may set budgets and quotas of its organisation.")
@click.option(
    "--owner", is_flag=True, help="The new token may also set ceilings for every organisation of the hub."
)
@directory_option
@json_option
@click.pass_context
def token(
    context: click.Context,
    join: bool,
    organisation: str | None,
    publisher: str | None,
    admin: bool,
    owner: bool,
    directory: str | None,
    as_json: bool,
) -> None:
    """Print the client token of this machine's network, for commands and programs on other machines.

    There, set FARLANE_URL and FARLANE_TOKEN. Whoever holds it can submit work in your name: hand it on with care.
    With --organisation a new one is made on the hub's machine, for somebody else: it is shown once.
    """
    if context.invoked_subcommand is not None:
        return
    if organisation is None and (admin or owner or publisher):
        raise InvalidInput(
            "--admin, --owner and --publisher are said of a new token; name whose it is with --organisation"
        )
    from farlane.app.layout import Layout
    from farlane.app.network_file import load, load_if_there
    from farlane.sdk.context import read_client_file

    layout = Layout(network_directory(directory))
    known = load(layout) if join or organisation is not None else load_if_there(layout)
    if known is not None and organisation is not None:
        from farlane.app.memberships import new_token

        made = new_token(
            layout, "node" if join else "client", organisation, publisher, admin=admin, owner=owner
        )
        role, url, text = made.role, known.url, made.text()
    elif known is not None and join:
        role, url, text = "node", known.url, known.join_token
    else:
        endpoint = read_client_file(layout.root)
        role, url, text = "client", known.url if known is not None else endpoint.url, endpoint.token
    if as_json:
        print_json({"role": role, "url": url, "token": text})
    else:
        click.echo(text)


@token.command("ls")
@directory_option
@json_option
def list_(directory: str | None, as_json: bool) -> None:
    """List the tokens that the hub of this machine knows. Secrets are not kept: a name is of a secret's digest."""
    from farlane.app.layout import Layout
    from farlane.app.memberships import known_tokens

    found = known_tokens(Layout(network_directory(directory)))
    if as_json:
        print_json(found)
        return
    rows = [
        (one.name, one.role + _rank(one.admin, one.owner), one.organisation, one.publisher or "-")
        for one in found
    ]
    print_table(("TOKEN", "ROLE", "ORGANISATION", "PUBLISHER"), rows)


def _rank(admin: bool, owner: bool) -> str:
    return " (owner)" if owner else " (admin)" if admin else ""


@token.command()
@click.argument("name")
@directory_option
@json_option
def revoke(name: str, directory: str | None, as_json: bool) -> None:
    """Withdraw the token NAME, as `farlane token ls` lists it: its next call or stream is refused."""
    from farlane.app.layout import Layout
    from farlane.app.memberships import withdraw_token

    gone = withdraw_token(Layout(network_directory(directory)), name)
    if as_json:
        print_json(gone)
    else:
        click.echo(f"{gone.name} of {gone.publisher or gone.organisation} is withdrawn")
