"""Which node calls: its id, its secret and its token must belong together."""

from __future__ import annotations

import hmac

from farlane.domain.ids import NodeId
from farlane.errors import PermissionRefused
from farlane.hub.reactor.state import HubState, Node
from farlane.wire.tokens import secret_digest


def proven_node(state: HubState, node: str, secret: bytes, organisation: str) -> Node:
    """Return the node that calls.

    Args:
        state: of the hub.
        node: the id it states.
        secret: what it proves that with.
        organisation: of its token.

    Raises:
        PermissionRefused: they disagree, or the node never joined.
    """
    found = state.nodes.get(NodeId(node))
    if (
        found is None
        or not hmac.compare_digest(found.secret_sha256, secret_digest(secret.hex()))
        or found.spec.organisation != organisation
    ):
        raise PermissionRefused("this is not the node that it says: its id, secret and token disagree")
    return found
