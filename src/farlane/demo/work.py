"""The demo's work: passages in, sentence vectors out; what runs inside the nodes' workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import farlane

if TYPE_CHECKING:
    from farlane.sdk.facade import Client
    from farlane.sdk.functions import Function

BATCH = 6
"""Passages of one task: about a quarter of a second on one core."""
PRIORITIES = {"first volume": 80, "second volume": 50, "third volume": 20}
"""The novel's three volumes, submitted with falling priority."""
VOLUME_STARTS = (1, 24, 43)
"""First chapter of each volume."""


def embed(texts: Sequence[str]) -> bytes:
    """Return the sentence vectors of some passages: (len(texts), 384) float32, as bytes."""
    from farlane.demo.embedding import shared_encoder

    vectors = shared_encoder().encode(list(texts))
    raw: bytes = vectors.tobytes()
    return raw


def embedders(client: Client) -> dict[str, Function[..., Any]]:
    """Return `embed` as a function of the network, once for each volume's priority."""
    app = farlane.App("demo", client)
    declare: Callable[[int], Callable[..., Function[..., Any]]] = lambda priority: app.function(  # noqa: E731
        cpu=1,
        memory="700MB",
        disk="100MB",
        retries=2,
        timeout=60,
        priority=priority,
        env={"OPENBLAS_NUM_THREADS": "1"},
    )
    return {volume: declare(priority)(embed) for volume, priority in PRIORITIES.items()}
