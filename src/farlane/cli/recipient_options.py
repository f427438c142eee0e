"""Options of commands that say who can read a private version: recipients by their key, nodes by their name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farlane.cli.output import say
from farlane.errors import InvalidInput, NotFound
from farlane.sdk.context import current_endpoint, data_directory

if TYPE_CHECKING:
    from farlane.models.private.recipients import Recipient, RecipientKey
    from farlane.sdk.values import NodeStatus

F = TypeVar("F", bound=Callable[..., Any])


def nodes_options(command: F) -> F:
    """Add `--with-node` and `--with-network`."""
    each = click.option(
        "--with-node", "with_nodes", multiple=True, metavar="NODE",
        help="With a node of the current network, by its name or id, so that it can serve it; may be repeated.",
    )  # fmt: skip
    every = click.option(
        "--with-network", is_flag=True, help="With every node of your organisation in the current network."
    )
    return each(every(command))


def own_keys() -> tuple[RecipientKey, ...]:
    """Return the keys by which whoever types reads private models, the one in use first."""
    from farlane.models.private.recipients import recipient_keys

    return recipient_keys(data_directory())


def chosen_recipients(texts: Sequence[str], nodes: Sequence[str], network: bool) -> tuple[Recipient, ...]:
    """Return whom the options name.

    Args:
        texts: recipients as their owners' programs show them.
        nodes: names or ids of nodes of the current network.
        network: every node of the caller's organisation, too.

    Raises:
        InvalidInput: a text is no recipient, a name is several nodes', or a node has no key to be read by.
        NotFound: there is no such node, or no network here.
    """
    from farlane.models.private.recipients import parse_recipient

    found = [parse_recipient(text) for text in texts]
    if nodes or network:
        known = _known_nodes()
        found += [parse_recipient(_key_of(_one(known, name))) for name in nodes]
        if network:
            found += [parse_recipient(one.spec.recipient) for one in _own(known)]
    return tuple(dict.fromkeys(found))


def _known_nodes() -> list[NodeStatus]:
    from farlane.cli.connecting import with_client

    return with_client(lambda client: client.nodes())


def _one(known: list[NodeStatus], name: str) -> NodeStatus:
    found = [one for one in known if name in (one.spec.node, one.spec.name)]
    if not found:
        raise NotFound(f"there is no node {name!r}; `farlane nodes` lists those there are", node=name)
    if len(found) > 1:
        ids = ", ".join(one.spec.node for one in found)
        raise InvalidInput(f"{name!r} is the name of several nodes: say which by its id ({ids})", node=name)
    return found[0]


def _key_of(node: NodeStatus) -> str:
    if not node.spec.recipient:
        raise InvalidInput(
            f"{node.spec.name} serves no models, or its farlane is too old: it has told no key to encrypt for"
        )
    return node.spec.recipient


def _own(known: list[NodeStatus]) -> list[NodeStatus]:
    from farlane.wire.tokens import parse_token

    organisation = parse_token(current_endpoint().token).organisation
    own = [one for one in known if one.spec.organisation == organisation]
    found = [one for one in own if one.spec.recipient]
    if not found:
        raise NotFound(
            f"no node of {organisation} has told a key to encrypt for: is one running that serves models?"
        )
    if left := sorted(one.spec.name for one in own if not one.spec.recipient):
        say(f"left out, since they serve no models: {', '.join(left)}")
    return found
