"""What the learned scheduler says of its choices while the demo's work waits: the words of `farlane why`."""

from __future__ import annotations

import textwrap

from farlane.domain.ids import job_text
from farlane.sdk.facade import Client

_WIDTH = 112


def explained(client: Client) -> str:
    """Return what the policy weighs of the waiting job of which it has most to say, or that none waits."""
    told = [(job_text(status.job), client.job(status.job).why()) for status in client.jobs()]
    found = [(job, why) for job, why in told if why.weighed]
    if not found:
        return "the learned scheduler has nothing to weigh: no task waits"
    job, why = max(found, key=lambda each: len(each[1].weighed))
    lines = [f"why {job}: {why.dominant}", *(f"  {sentence}" for sentence in why.weighed)]
    if why.decider:
        lines.append(f"  {why.decider}")
    return "\n".join(
        textwrap.fill(line, _WIDTH, initial_indent="  " * bool(at), subsequent_indent=" " * 8)
        for at, line in enumerate(lines)
    )
