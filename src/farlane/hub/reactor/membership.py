"""Membership: nodes join, are heard of, drain, leave and come back with what they still hold."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import NodeId, TaskId
from farlane.domain.nodes import NodeSpec
from farlane.domain.records import NodeRegistered
from farlane.errors import NotFound, PermissionRefused
from farlane.hub.reactor import departures
from farlane.hub.reactor.commands import Append, Command, RequestDrain, RevokeLeases
from farlane.hub.reactor.leasing import lose_leases
from farlane.hub.reactor.state import HubState, Node


def join(
    state: HubState, out: list[Command], now: float, spec: NodeSpec, secret_sha256: bytes,
    epoch: int, held: Mapping[TaskId, int],
) -> Node:  # fmt: skip
    """Admit a node's stream. `held` maps the tasks it holds to their attempts, granted in store epoch `epoch`.

    Leases the node does not hold any more are free at once; what it holds without a lease is revoked. A node that
    changed its prices starts anew: what it holds was granted at the old ones.

    Raises:
        PermissionRefused: another machine has registered this node id.
    """
    known = state.nodes.get(spec.node)
    repriced = known is not None and known.spec.rates != spec.rates
    node = _register(state, out, now, spec, secret_sha256)
    node.connected, node.draining = True, False
    node.session += 1
    node.strikes, node.suspended_until = 0, 0.0
    departures.come(node, now)
    heard(state, now, node)
    current = held if epoch == state.epoch and not repriced else {}
    gone = [task for task, lease in node.leases.items() if current.get(task) != lease.attempt]
    why = f"node {spec.name} came back {'with other prices' if repriced else 'without this task'}"
    lose_leases(state, out, now, node, gone, Failure(FailureKind.NODE_LOST, why))
    stale = [
        task for task, attempt in held.items() if _attempt(node, task) != attempt or epoch != state.epoch
    ]
    if stale:
        attempts = [held[task] for task in stale]
        out.append(RevokeLeases(spec.node, stale, attempts, "its lease is not in force any more"))
    return node


def _attempt(node: Node, task: TaskId) -> int | None:
    lease = node.leases.get(task)
    return None if lease is None else lease.attempt


def _register(state: HubState, out: list[Command], now: float, spec: NodeSpec, secret_sha256: bytes) -> Node:
    node = state.nodes.get(spec.node)
    if node is None:
        node = state.nodes[spec.node] = Node(spec, secret_sha256, joined_at=now)
        out.append(Append(NodeRegistered(spec, secret_sha256, now)))
    elif not hmac.compare_digest(node.secret_sha256, secret_sha256):
        raise PermissionRefused(
            f"node id {spec.node} belongs to another machine; give this one its own directory "
            "(a copied node directory copies the identity: delete its node.json)",
            node=spec.node,
        )
    elif node.spec != spec:
        node.spec = spec
        out.append(Append(NodeRegistered(spec, secret_sha256, now)))
    state.table.put(spec)
    return node


def heard(state: HubState, now: float, node: Node) -> None:
    """Renew all leases of a node."""
    node.last_seen = now
    node.lease_until = now + state.lease_s


def leave(state: HubState, out: list[Command], now: float, node: Node, session: int, farewell: str) -> None:
    """End a node's stream. Without a farewell its leases wait for it until they run out."""
    if node.session != session:
        return
    node.connected = False
    if farewell:
        departures.go(node, now)
        why = f"node {node.spec.name} left: {farewell}"
        lose_leases(state, out, now, node, list(node.leases), Failure(FailureKind.HANDED_BACK, why))


def drain(state: HubState, out: list[Command], node_id: NodeId, hand_back: bool) -> Node:
    """Give a node no new work and ask it to leave when it is done.

    Raises:
        NotFound: no such node, by id or name, or it is not connected.
    """
    node = find_node(state, node_id)
    if not node.connected:
        raise NotFound(
            f"node {node.spec.name} is not connected; there is nothing to drain", node=node.spec.node
        )
    node.draining = True
    out.append(RequestDrain(node.spec.node, hand_back))
    return node


def find_node(state: HubState, named: str) -> Node:
    """Return a node by id or by name.

    Raises:
        NotFound: no node is called so, or several are.
    """
    by_id = state.nodes.get(NodeId(named))
    if by_id is not None:
        return by_id
    found = [node for node in state.nodes.values() if node.spec.name == named]
    online = [node for node in found if node.connected] or found
    if len(online) == 1:
        return online[0]
    names = ", ".join(sorted(node.spec.name for node in state.nodes.values())) or "none yet"
    if not online:
        raise NotFound(f"no node {named!r} here; known nodes: {names}")
    ids = ", ".join(node.spec.node for node in online)
    raise NotFound(f"{len(online)} nodes are called {named!r}; name one by its id: {ids}")
