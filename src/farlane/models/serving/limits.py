"""What one served model accepts: queue, sizes, batches, deadline."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.errors import InvalidSetting

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """Caps of one replica; what goes beyond them is refused before anything runs."""

    queue: int = 64
    """Requests that may wait; the next one gets `Exhausted` (429)."""
    max_batch: int = 16
    """Rows of one batch, over all its requests."""
    max_delay_s: float = 0.002
    """How long a request waits for others to share its batch."""
    max_tokens: int = 4096
    """Tokens of one answer."""
    max_input_bytes: int = 32 * MIB
    """Bytes of one request's arrays or texts."""
    max_texts: int = 2048
    """Texts of one request for embeddings."""
    deadline_s: float = 300.0
    """Longest time for one request, waiting included."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InvalidSetting: a cap that admits nothing.
        """
        for name in self.__slots__:
            value = getattr(self, name)
            least = 0 if name == "max_delay_s" else 1e-9
            if not least <= value < float("inf"):
                raise InvalidSetting(
                    f"{name} of a served model is {value}; expected a number above 0", setting=name
                )
