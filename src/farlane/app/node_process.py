"""A node's process: one agent that joins a hub and works until it is drained or told to stop."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from farlane.app.configuration import Configuration
from farlane.app.daemon import run_daemon
from farlane.app.shared_models import models_of
from farlane.errors import InvalidToken
from farlane.kit.logs import LogFormat
from farlane.node.agent import run_node
from farlane.wire.tokens import parse_token

TOKEN_VARIABLE = "FARLANE_JOIN_TOKEN"
"""Where the join token comes in: never on a command line, which other users can read."""


def main(arguments: list[str] | None = None, style: LogFormat = "json") -> int:
    """Run a node, with its log on stderr."""
    return run_daemon("node", _serve, arguments, ("--url", "the hub's URL, https://host:port"), style=style)


async def _serve(options: argparse.Namespace, given: Configuration) -> None:
    text = os.environ.pop(TOKEN_VARIABLE, "")
    if not text:
        raise InvalidToken(
            f"no join token: set {TOKEN_VARIABLE} to what `farlane up` printed on the hub's machine"
        )
    host, models = models_of(given.node, Path(options.dir))
    await run_node(given.node, options.url, parse_token(text), host, models)


if __name__ == "__main__":
    sys.exit(main())
