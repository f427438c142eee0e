"""`farlane models ipfs serve`: the public versions of a repository as a trustless gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.models_options import opened, repository_option
from farlane.cli.output import counted, json_option, print_json_line, say
from farlane.errors import FarlaneError, InvalidInput

if TYPE_CHECKING:
    from farlane.models.ipfs.published import PublishedVersions

REFRESH_S = 5.0


@click.command()
@click.option("--listen", default="127.0.0.1:7720", show_default=True, metavar="HOST:PORT",
              help="Where it listens; port 0 picks a free one.")  # fmt: skip
@click.option(
    "--public", is_flag=True, help="Let other machines reach it, over plain HTTP and without any token."
)
@repository_option
@json_option
def serve(listen: str, public: bool, directory: Path | None, as_json: bool) -> None:
    """Serve the public versions of this machine as a trustless gateway, for any IPFS client. Ends with Ctrl-C.

    It gives raw blocks and CARs, which clients verify. Private versions, those whose licence you have not accepted, and
    everything else in the repository are not there for those who ask. New versions are served within seconds.
    """
    from farlane.app.addresses import is_loopback
    from farlane.models.ipfs.published import PublishedVersions
    from farlane.models.transfer.block_server import BlockServer

    host = listen.rpartition(":")[0]
    if not public and not is_loopback(host):
        raise InvalidInput(
            f"--listen {listen} is reached from other machines, and whoever reaches it can read every public version "
            "of this repository over plain HTTP: say --public if that is meant"
        )
    with opened(directory) as repository:
        published = PublishedVersions(repository)
        server = BlockServer(listen, published.source, published.admit)
        try:
            _tell(f"http://{server.address}", published, as_json)
            _wait(published)
        finally:
            server.close()


def _tell(url: str, published: PublishedVersions, as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": version.name, "version": version.number, "address": f"ipfs://{root.text}"}
            for version, root in published.versions
        ]
        print_json_line({"url": url, "versions": rows, "left_out": published.left_out})
        return
    for version, root in published.versions:
        click.echo(f"{version.name}@v{version.number} ipfs://{root.text}")
    left_out = f", {published.left_out} not (private, or not accepted)" if published.left_out else ""
    say(f"{counted(len(published.versions), 'version')} at {url}{left_out}; stop it with Ctrl-C")


def _wait(published: PublishedVersions) -> None:
    """Look for new versions until somebody says stop."""
    import signal
    import threading

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(REFRESH_S):
        try:
            published.refresh()
        except FarlaneError as error:  # what is served goes on being served; the next look may succeed
            say(f"new versions are not seen: {error.message}")
