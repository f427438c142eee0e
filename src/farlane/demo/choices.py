"""What the learned scheduler says of its choices while the demo's work runs: the words of `farlane why`."""

from __future__ import annotations

import textwrap

from farlane.domain.ids import job_text
from farlane.sdk.facade import Client
from farlane.sdk.values import Explanation

_WIDTH = 112
_CHOICE = " before "


class Choices:
    """Asks why again and again, and keeps the answer that says most: what was weighed between two nodes or jobs.

    While all nodes are full, guards alone decide, such as priorities.
    """

    def __init__(self) -> None:
        self._best: Explanation | None = None

    def ask(self, client: Client) -> None:
        """Ask of every open job."""
        for status in client.jobs():
            why = client.job(status.job).why()
            if self._best is None or _says(why) > _says(self._best):
                self._best = why

    def told(self) -> str:
        """Return the answer in lines of at most 112 columns; empty where nobody was asked."""
        if self._best is None:
            return ""
        said = "; ".join(self._best.weighed) or self._best.dominant
        return textwrap.fill(
            f"why {job_text(self._best.job)}: {said}", _WIDTH, initial_indent="  ", subsequent_indent="    "
        )


def _says(why: Explanation) -> tuple[bool, int]:
    text = "; ".join(why.weighed)
    return _CHOICE in text, len(text)
