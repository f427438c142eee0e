"""What the processes of a network have in common: command line, logs, event loop, stop signals, metrics port."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from farlane.app.configuration import Configuration, assignments, configuration
from farlane.errors import FarlaneError
from farlane.kit.logs import LogFormat, configure


def run_daemon(
    name: str,
    serve: Callable[[argparse.Namespace, Configuration], Coroutine[Any, Any, None]],
    arguments: list[str] | None,
    *extra: tuple[str, str],
    style: LogFormat = "json",
) -> int:
    """Parse the command line, then run `serve` on uvloop; errors of the tree go to stderr in one line.

    Args:
        name: for usage and messages.
        serve: the process's work.
        arguments: instead of the process's own.
        extra: further required options, (flag, help).
        style: of the logs on stderr.
    """
    parser = argparse.ArgumentParser(prog=f"farlane-{name}")
    parser.add_argument("--dir", type=Path, required=True, help="the network's directory")
    parser.add_argument("--config", type=Path, help="configuration file (TOML or YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="GROUP.FIELD=VALUE")
    for flag, text in extra:
        parser.add_argument(flag, required=True, help=text)
    options = parser.parse_args(arguments)
    configure(style=style)
    try:
        import uvloop

        uvloop.run(serve(options, configuration(options.config, assignments(options.set))))
    except FarlaneError as error:
        sys.stderr.write(f"farlane {name}: {error.message}\n")
        return 1
    return 0


async def stop_signal() -> None:
    """Return at the first SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
