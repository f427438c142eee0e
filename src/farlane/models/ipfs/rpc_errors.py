"""What a kubo answers instead of a result, as one of our own errors."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from farlane.errors import (
    Conflict,
    DeadlineExceeded,
    DiskFull,
    FarlaneError,
    InvalidInput,
    NotFound,
    PermissionRefused,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

MAX_MESSAGE_CHARACTERS: Final = 500

# The words of kubo and of its libraries, in the order in which they are tried.
_MEANINGS: Final[Sequence[tuple[str, type[FarlaneError]]]] = (
    (r"no space left on device", DiskFull),
    (r"offline mode|online mode|while offline|failed to find any peer|all dials failed", Unavailable),
    (r"deadline exceeded|timed? ?out", DeadlineExceeded),
    (
        r"not found|could not find|failed to fetch all nodes|not pinned|could not resolve|no such|does not exist",
        NotFound,
    ),
    (r"message too large|bigger than|produced block is over", TooLarge),
    (r"already exists|already pinned", Conflict),
    (
        r"invalid|failed to parse|malformed|unknown (codec|multicodec|multihash)|unexpected|not supported",
        InvalidInput,
    ),
)
_STATUSES: Final[dict[int, type[FarlaneError]]] = {
    401: Unauthenticated,
    403: PermissionRefused,
    429: Unavailable,
    503: Unavailable,
}


def refusal(command: str, status: int, body: bytes, place: str) -> FarlaneError:
    """Return what an answer of another status than 200 means.

    Args:
        command: of the RPC API, such as `block/get`.
        status: of HTTP.
        body: JSON with a `Message`, or plain text.
        place: the kubo's name for messages.
    """
    text = message_of(body)
    if status == 401 or (status == 403 and "auth" in text.lower()):
        return Unauthenticated(
            f"the kubo at {place} wants a secret for {command}: give the one of its API.Authorizations ({text})"
        )
    if status == 403:
        return PermissionRefused(
            f"the kubo at {place} refuses {command} ({text}): its API.Authorizations do not allow it"
        )
    if status in {404, 405} or 300 <= status < 400:
        return Unavailable(
            f"{place} does not know {command} (HTTP {status}): is it the RPC API of a kubo, port 5001 by default?"
        )
    kind = _STATUSES.get(status) or meaning(text)
    return kind(f"the kubo at {place} refuses {command}: {text or f'HTTP {status}'}", command=command)


def meaning(text: str) -> type[FarlaneError]:
    """Return the error of the tree that kubo's words stand for; `Conflict` where they are unknown."""
    lower = text.lower()
    return next((kind for pattern, kind in _MEANINGS if re.search(pattern, lower)), Conflict)


def message_of(body: bytes) -> str:
    """Return the readable part of a refusal, capped and on one line."""
    try:
        document = json.loads(body)
        text = document["Message"] if isinstance(document, dict) and "Message" in document else str(document)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
    return " ".join(str(text).split())[:MAX_MESSAGE_CHARACTERS]
