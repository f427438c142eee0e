"""Who calls: an interceptor of the hub's server that lets nobody in without a token of the right role."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from farlane.errors import FarlaneError, PermissionRefused, Unauthenticated
from farlane.wire import status
from farlane.wire.tokens import Role, secret_digest

_BEARER: Final = "bearer "
_OPEN_SERVICES: Final = frozenset({"grpc.health.v1.Health", "farlane.v1.AdmissionService"})
_ROLES: Final[Mapping[str, frozenset[Role]]] = {
    "farlane.v1.NodeService": frozenset({"node"}),
    "farlane.v1.ReplicaService": frozenset({"node"}),
    "farlane.v1.DeploymentService": frozenset({"client"}),
    "farlane.v1.ClientService": frozenset({"client"}),
    "farlane.v1.LedgerService": frozenset({"client"}),
    "farlane.v1.RecordService": frozenset({"client"}),
    "farlane.v1.BlobService": frozenset({"client", "node"}),
    "farlane.v1.ModelService": frozenset({"client"}),
    "farlane.v1.BlockService": frozenset({"client", "node"}),
    "farlane.v1.SwarmService": frozenset({"node"}),
}
_GET_A_TOKEN = (
    "Ask the hub's operator for one: `farlane token` on the hub's machine prints the client token, `farlane up` the "
    "join token of nodes"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token belongs to; admin: it may set what its organisation spends; owner: what every organisation does."""

    role: Role
    organisation: str
    publisher: str
    admin: bool = False
    owner: bool = False


_current: contextvars.ContextVar[Identity] = contextvars.ContextVar("farlane_identity")


def current_identity() -> Identity:
    """Return who makes the call that this code answers.

    Raises:
        Unauthenticated: not inside an authenticated call.
    """
    try:
        return _current.get()
    except LookupError as error:
        raise Unauthenticated(f"this call has no authenticated caller. {_GET_A_TOKEN}") from error


def require_admin(what: str) -> Identity:
    """Return who calls, if it may administer its organisation.

    Args:
        what: the thing it wants to do, for the message.

    Raises:
        PermissionRefused: it may not.
    """
    who = current_identity()
    if not who.admin:
        raise PermissionRefused(
            f"{who.publisher} may not {what}: that takes a token of an administrator of {who.organisation}. On the "
            f"hub's machine `farlane token --organisation {who.organisation} --admin` makes one",
            organisation=who.organisation,
        )
    return who


def require_owner(what: str) -> Identity:
    """Return who calls, if it rules the hub.

    Args:
        what: the thing it wants to do, for the message.

    Raises:
        PermissionRefused: it does not.
    """
    who = current_identity()
    if not who.owner:
        raise PermissionRefused(
            f"{who.publisher} may not {what}: that takes a token of the hub's owner. On the hub's machine "
            "`farlane token --organisation NAME --owner` makes one",
            organisation=who.organisation,
        )
    return who


class TokenAuthenticator(grpc.aio.ServerInterceptor):
    """Authenticates every call, streams included, before its handler runs.

    Args:
        lookup: SHA-256 of a secret -> whose it is, or None. Asked on each call, so that a withdrawn token stops
            working at once. Secrets are found by their hash, so timing tells nothing about a near miss.
    """

    def __init__(self, lookup: Callable[[bytes], Identity | None]) -> None:
        self._lookup = lookup

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler for a caller who may call it, else one that refuses."""
        service = handler_call_details.method.strip("/").rpartition("/")[0]
        if service in _OPEN_SERVICES:
            return await continuation(handler_call_details)
        try:
            identity = self._authenticate(handler_call_details)
            _check_role(service, identity)
        except FarlaneError as error:
            return _refusing(error)
        # A call's handlers run in this same task, each call in its own.
        _current.set(identity)
        return await continuation(handler_call_details)

    def _authenticate(self, details: grpc.HandlerCallDetails) -> Identity:
        shown = [value for key, value in details.invocation_metadata or () if key == "authorization"]
        if not shown:
            raise Unauthenticated(f"the call carries no token. {_GET_A_TOKEN}")
        header = shown[0]
        if len(shown) > 1 or not isinstance(header, str) or header[: len(_BEARER)].lower() != _BEARER:
            raise Unauthenticated(f"the call's authorization is not one 'Bearer <secret>'. {_GET_A_TOKEN}")
        identity = self._lookup(secret_digest(header[len(_BEARER) :]))
        if identity is None:
            raise Unauthenticated(
                f"this hub does not know the token: it was withdrawn, or belongs to another hub. {_GET_A_TOKEN}"
            )
        return identity


def _check_role(service: str, identity: Identity) -> None:
    allowed = _ROLES.get(service, frozenset())
    if identity.role not in allowed:
        wanted = " or ".join(sorted(allowed)) or "no"
        raise PermissionRefused(
            f"a {identity.role} token cannot call {service or 'this'}; expected a {wanted} token. On the hub's machine "
            "`farlane up` prints the one for nodes, `farlane token` the one for clients",
            role=identity.role,
            service=service,
        )


def _refusing(error: FarlaneError) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await status.abort(context, error)

    # Stream in, stream out serves every kind of call: it answers before a message is read.
    return grpc.stream_stream_rpc_method_handler(refuse)
