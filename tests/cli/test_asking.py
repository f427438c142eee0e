"""Questions on the terminal: a Ctrl-C ends them at once, also inside an event loop."""

from __future__ import annotations

import asyncio
import signal

import click
import pytest

from farlane.cli.output import ask


def test_a_question_in_an_event_loop_ends_at_the_first_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> str:
        signal.raise_signal(signal.SIGINT)
        return "y"

    async def command() -> bool:
        taken = signal.getsignal(signal.SIGINT)
        try:
            return ask("send it?", default=True)
        finally:
            assert signal.getsignal(signal.SIGINT) is taken

    monkeypatch.setattr(click.termui, "visible_prompt_func", interrupted)
    with pytest.raises(click.Abort):
        asyncio.run(command())
