"""The one error tree of farlane: every leaf maps to one gRPC code and one HTTP status.

FarlaneError
├── InvalidInput          what was sent cannot mean anything
│   ├── InvalidJob        a job, job file or function that cannot be accepted
│   ├── InvalidSetting    a setting that is unknown or out of range
│   ├── InvalidToken      a join or client token that is not one
│   ├── InvalidSignature  a signature, voucher, receipt or key that proves nothing
│   └── UnsupportedVersion  a peer that speaks another protocol version
├── NotFound              the named thing does not exist here
├── Conflict              the state of the thing forbids it
│   ├── IdempotencyMismatch  one idempotency key, two different requests
│   ├── StaleFence        a result of a lease that was given to somebody else
│   ├── Reverted          the chain refused a transaction: the contract's own error
│   └── RpcRefused        the chain's endpoint refused a call for another reason
├── Unauthenticated       no proof of who is calling, or a wrong one
│   └── WrongHub          the hub's TLS key is not the one the token names
├── PermissionRefused     known caller, not allowed
├── Exhausted             a cap was reached
│   ├── TooLarge          a message, payload or result beyond its cap
│   ├── BudgetSpent       max_price or budget would be passed
│   ├── QuotaReached      an organisation or project would have too many tasks open
│   ├── InsufficientFunds  a balance, deposit or credit limit does not cover it
│   └── DiskFull          the store or the blobs cannot be written
├── Unavailable           try again later
│   ├── ConnectionLost    the peer went away in mid-call
│   └── ChainUnavailable  the chain's RPC endpoint cannot be reached or is behind
├── DeadlineExceeded      the caller's deadline passed
├── Corrupted             bytes that do not match their hash or format
├── TaskError             a task ended without a result (see `failure`)
└── Internal              a broken promise of farlane itself
"""

from __future__ import annotations

from typing import ClassVar


class FarlaneError(Exception):
    """Root of the tree: a message for people and facts for programs.

    Args:
        message: what was wrong, what was expected and what to do next.
        **facts: machine-readable details; they travel with the error over the wire.
    """

    grpc_code: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class InvalidInput(FarlaneError):
    """What was sent cannot mean anything."""

    grpc_code = "INVALID_ARGUMENT"
    http_status = 400


class InvalidJob(InvalidInput):
    """A job, job file or function that cannot be accepted."""


class InvalidSetting(InvalidInput):
    """A setting that is unknown or out of range."""


class InvalidToken(InvalidInput):
    """A join or client token that is not one."""


class InvalidSignature(InvalidInput):
    """A signature, voucher, receipt or key that proves nothing."""


class UnsupportedVersion(InvalidInput):
    """A peer that speaks another protocol version."""

    grpc_code = "FAILED_PRECONDITION"
    http_status = 426


class NotFound(FarlaneError):
    """The named thing does not exist here."""

    grpc_code = "NOT_FOUND"
    http_status = 404


class Conflict(FarlaneError):
    """The state of the thing forbids it."""

    grpc_code = "ABORTED"
    http_status = 409


class IdempotencyMismatch(Conflict):
    """One idempotency key was used for two different requests."""

    grpc_code = "ALREADY_EXISTS"


class StaleFence(Conflict):
    """A result of a lease that was given to somebody else."""


class Reverted(Conflict):
    """The chain refused a transaction; fact `error` is the contract's own error, where it names one."""

    grpc_code = "FAILED_PRECONDITION"


class RpcRefused(Conflict):
    """A chain's endpoint understood a call and refused it; facts `code` and `rpc_message` are its own.

    Fact `reason` says what that message means, whatever the client's words are (`farlane.ledger.rpc_errors`).
    """

    grpc_code = "FAILED_PRECONDITION"


class Unauthenticated(FarlaneError):
    """No proof of who is calling, or a wrong one."""

    grpc_code = "UNAUTHENTICATED"
    http_status = 401


class WrongHub(Unauthenticated):
    """The hub's TLS key is not the one the token names."""


class PermissionRefused(FarlaneError):
    """Known caller, not allowed."""

    grpc_code = "PERMISSION_DENIED"
    http_status = 403


class Exhausted(FarlaneError):
    """A cap was reached."""

    grpc_code = "RESOURCE_EXHAUSTED"
    http_status = 429


class TooLarge(Exhausted):
    """A message, payload or result beyond its cap."""

    http_status = 413


class BudgetSpent(Exhausted):
    """`max_price` or `budget` would be passed."""

    http_status = 402


class QuotaReached(Exhausted):
    """An organisation or project would have more tasks open than its quota; facts `quota`, `open`, `asked`, `room`."""


class InsufficientFunds(Exhausted):
    """A balance, a deposit or a credit limit does not cover what was asked for."""

    http_status = 402


class DiskFull(Exhausted):
    """The store or the blobs cannot be written."""

    http_status = 507


class Unavailable(FarlaneError):
    """Not now: try again later."""

    grpc_code = "UNAVAILABLE"
    http_status = 503


class ConnectionLost(Unavailable):
    """The peer went away in mid-call."""


class ChainUnavailable(Unavailable):
    """The chain's RPC endpoint cannot be reached, answers with nonsense or lags behind."""


class DeadlineExceeded(FarlaneError):
    """The caller's deadline passed."""

    grpc_code = "DEADLINE_EXCEEDED"
    http_status = 504


class Corrupted(FarlaneError):
    """Bytes that do not match their hash or format."""

    grpc_code = "DATA_LOSS"
    http_status = 422


class TaskError(FarlaneError):
    """A task ended without a result.

    Facts: `failure` (kind), `blame`, `task`, `traceback` (remote, may be empty).
    """

    grpc_code = "UNKNOWN"
    http_status = 500


class Internal(FarlaneError):
    """A broken promise of farlane itself: please report it."""


def leaves(root: type[FarlaneError] = FarlaneError) -> dict[str, type[FarlaneError]]:
    """Return every class of the tree by name, for the wire's error table."""
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(leaves(child))
    return found
