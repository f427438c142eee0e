"""The hub's disk runs full: nothing acknowledged is lost, everybody is told, and room brings it back by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farlane.errors import FarlaneError, Unavailable
from farlane.sdk.context import read_client_file
from farlane.sdk.facade import Client
from farlane.testing.builders import a_command

SIZE_MB = 96
"""Of the disk: the store's ballast takes 16 MB of it."""
PAYLOAD_BYTES = 50_000


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tmpfs for the hub alone; the nodes keep their data elsewhere."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    directory = tmp_path_factory.mktemp("small")
    directory.chmod(0o700)
    hub = directory / "hub"
    hub.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=0700", "tmpfs", str(hub)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs: {made.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", str(hub)], check=True)


def fill(client: Client) -> tuple[list[str], str]:
    """Submit jobs that no node can run until the hub refuses: those it has acknowledged whole, and what it said."""
    kept: list[str] = []
    spec = a_command("true", labels=(("nowhere", "yes"),))
    try:
        for _ in range(100):
            job = client.submit(spec, (os.urandom(PAYLOAD_BYTES) for _ in range(100)))
            kept.append(job.id)
    except FarlaneError as error:
        return kept, error.message
    pytest.fail("the disk never got full")


def test_a_full_disk_is_told_and_survived(
    small_disk: Path, new_network: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    network = new_network("--nodes", "1", directory=small_disk)
    filler = small_disk / "hub" / "filler"
    filler.write_bytes(bytes(40 << 20))
    endpoint = read_client_file(small_disk)
    # A client waits for its hub to come back; this one loses patience soon.
    with Client(endpoint.url, endpoint.token, patience_s=2.0) as impatient:
        kept, said = fill(impatient)
    assert kept
    assert "Free some space" in said
    with pytest.raises(Unavailable, match="full") as caught:
        Client(endpoint.url, endpoint.token, connect_timeout_s=1.0)
    assert "what was acknowledged is safe" in caught.value.message
    assert set(network.pids()) == {"hub", "node-1"}
    filler.unlink()
    eventually(lambda: answers(network), 30)
    with network.client() as client:
        for job in kept:
            status = client.job(job).status()
            assert (status.total, status.sealed, status.queued) == (100, True, 100)
            client.job(job).stop()
    assert network.json("run", "-y", "--", "echo on")["status"]["state"] == "succeeded"


def answers(network: Any) -> bool:
    try:
        with network.client() as client:
            return bool(client.jobs())
    except FarlaneError:
        return False
