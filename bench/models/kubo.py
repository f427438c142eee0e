"""A real kubo as a rival: repositories on loopback that know nobody, its daemon, and what its commands cost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[2]
KUBO_VERSION = re.findall(
    r"github.com/ipfs/kubo v([0-9.]+)", (ROOT / "interop/kubo/go.mod").read_text("utf-8")
)[0]
START_S = 60.0


class Cost(NamedTuple):
    """What one command took, and what it wrote to standard output."""

    wall_s: float
    cpu_s: float
    output: str


def binary() -> Path:
    """Return the program that `make peers` builds."""
    path = ROOT / ".cache" / "kubo" / KUBO_VERSION / "ipfs"
    if not path.exists():
        raise SystemExit(f"{path} is missing: build kubo by `make peers` (needs Go)")
    return path


class Daemon(NamedTuple):
    """A daemon at work: the address that others connect to, and its process."""

    address: str
    process: psutil.Process


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time that a process has used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


class Kubo:
    """One repository of kubo's.

    Args:
        repo: its directory, made here.
        profile: how it cuts files.
    """

    def __init__(self, repo: Path, profile: str = "unixfs-v1-2025") -> None:
        self.repo = repo
        repo.mkdir()
        self.run("init", f"--profile=test,{profile}")
        path = repo / "config"
        settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
        settings["Bootstrap"] = []
        settings["AutoConf"] = {"Enabled": False}
        settings["DNS"] = {"Resolvers": {}}
        settings["Routing"] = {"Type": "none", "DelegatedRouters": []}
        settings["AutoTLS"] = {"Enabled": False}
        settings["Discovery"] = {"MDNS": {"Enabled": False}}
        loopback = "/ip4/127.0.0.1/tcp/0"
        settings["Addresses"].update(API=loopback, Gateway=loopback, Swarm=[loopback])
        path.write_text(json.dumps(settings), "utf-8")

    def run(self, *arguments: str | Path) -> Cost:
        """Run a command to its end."""
        before, began = _children_s(), time.perf_counter()
        done = subprocess.run(
            [binary(), *arguments], env=self._environment(), capture_output=True, text=True, check=False, timeout=300
        )  # fmt: skip
        wall_s = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"ipfs {arguments[0]} failed:\n{done.stderr[-3000:]}")
        return Cost(wall_s, _children_s() - before, done.stdout.strip())

    @contextlib.contextmanager
    def daemon(self) -> Iterator[Daemon]:
        """Run its daemon inside the block."""
        log = self.repo / "daemon.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [binary(), "daemon"], env=self._environment(), stdout=output, stderr=subprocess.STDOUT
            )
        try:
            end = time.monotonic() + START_S
            while "Daemon is ready" not in log.read_text("utf-8", "replace"):
                if time.monotonic() > end or process.poll() is not None:
                    raise SystemExit(f"kubo did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")
                time.sleep(0.02)
            addresses: list[str] = json.loads(self.run("id").output)["Addresses"]
            address = next(one for one in addresses if "/127.0.0.1/tcp/" in one)
            yield Daemon(address, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(30)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "IPFS_PATH": str(self.repo), "IPFS_TELEMETRY": "off"}


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
