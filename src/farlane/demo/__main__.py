"""`make demo`: a whole network on this machine does real AI work, loses a node, gains one, and shows its books."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from farlane.app.network import down
from farlane.demo.story import tell
from farlane.errors import FarlaneError


def main(arguments: list[str] | None = None) -> int:
    """Run the demo in a directory of its own and leave nothing running; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m farlane.demo")
    parser.add_argument("--dir", type=Path, default=Path(".demo"), help="where the network keeps its data")
    parser.add_argument("--passages", type=int, help="embed only the first so many passages")
    options = parser.parse_args(arguments)
    directory = options.dir.absolute()
    if (directory / "network.json").exists():
        down(directory)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        tell(directory, options.passages)
    except FarlaneError as error:
        print(
            f"the demo failed: {error.message}\nthe processes' logs are in {directory / 'logs'}",
            file=sys.stderr,
        )
        return 1
    finally:
        if (directory / "network.json").exists():
            down(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
