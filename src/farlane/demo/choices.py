"""What the learned scheduler says of one of its choices while the demo's work runs: the words of `farlane why`."""

from __future__ import annotations

import textwrap

from farlane.domain.ids import job_text
from farlane.sdk.facade import Client

_WIDTH = 112
_CHOICE = " before "


def explained(client: Client) -> str:
    """Return what the policy weighed between two nodes or two jobs; empty while guards alone decide."""
    for status in client.jobs():
        why = client.job(status.job).why()
        weighed = [sentence for sentence in why.weighed if _CHOICE in sentence]
        if weighed:
            lines = [f"why {job_text(status.job)}: {why.dominant}", *weighed]
            return "\n".join(
                textwrap.fill(line, _WIDTH, initial_indent=" " * 14 * bool(at), subsequent_indent=" " * 16)
                for at, line in enumerate(lines)
            )
    return ""
