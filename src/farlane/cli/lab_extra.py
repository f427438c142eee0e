"""What commands of the lab say where the packages they need are not installed."""

from __future__ import annotations

from importlib.util import find_spec

from farlane.cli.output import say
from farlane.errors import NotFound

INSTALL = "pip install 'farlane[lab]'"


def need_lab(*packages: str, quicker: str = "") -> None:
    """Check that packages of the lab extra are here.

    Args:
        packages: without which nothing goes.
        quicker: one without which everything takes many times as long.

    Raises:
        NotFound: one is missing; the message says how to install it.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise NotFound(f"this needs {', '.join(missing)}, which is not installed: {INSTALL}", missing=missing)
    if quicker and find_spec(quicker) is None:
        say(f"{quicker} is not installed, and without it this takes many times as long: {INSTALL}")
