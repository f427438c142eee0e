"""Requirements to a lock: pip resolves them once, where the job is submitted, to wheels with their hashes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farlane.errors import InvalidJob, Unavailable
from farlane.kit.hashing import sha256_hex

_TIMEOUT_S = 300.0
_SHOWN_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Lock:
    """What a node installs, exactly.

    Attributes:
        lines: `name==version --hash=sha256:...`, sorted; no index and no URL: a node asks its own index.
        digest: SHA-256 over the lines, each ended by a newline, in hex.
    """

    lines: tuple[str, ...]
    digest: str


def resolve(requires: Sequence[str], *, python: str = sys.executable, timeout_s: float = _TIMEOUT_S) -> Lock:
    """Resolve requirements to wheels for this Python and platform. Blocks: some seconds, with network.

    The hashes are those of this platform's wheels: a node with another processor or system will refuse them.

    Args:
        requires: pip requirements such as `numpy>=2`; no options, paths or URLs.
        python: interpreter whose pip resolves.
        timeout_s: how long it may take.

    Raises:
        InvalidJob: a requirement that is not one, or that cannot be met by wheels.
        Unavailable: pip is not there or takes too long.
    """
    for line in requires:
        _check(line)
    report = _report(list(requires), python, timeout_s) if requires else {"install": []}
    lines = tuple(sorted(_lock_line(found) for found in report["install"]))
    return Lock(lines, sha256_hex("".join(f"{line}\n" for line in lines).encode()))


def _check(line: str) -> None:
    if (
        not line.strip()
        or line.lstrip().startswith("-")
        or "\n" in line
        or "@" in line
        or re.search(r"[/\\]", line)
    ):
        raise InvalidJob(
            f"requires has {line!r}; expected a package and its versions such as 'numpy>=2': options, paths and URLs "
            "mean nothing on another machine",
            field="requires",
        )


def _report(requires: list[str], python: str, timeout_s: float) -> dict[str, Any]:
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--report", "-", "--", *requires]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"resolving requires={requires} took more than {timeout_s:.0f} s: is the package index reachable?"
        ) from error
    if "No module named pip" in done.stderr:
        raise Unavailable(f"{python} has no pip, which resolves requires=[...]: run `{python} -m ensurepip`")
    if done.returncode != 0:
        raise InvalidJob(
            f"requires={requires} cannot be resolved to wheels for this Python. pip said: "
            f"{done.stderr.strip()[-_SHOWN_CHARACTERS:]}",
            field="requires",
        )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _lock_line(found: dict[str, Any]) -> str:
    name, version = found["metadata"]["name"], found["metadata"]["version"]
    digest = found["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
    if digest is None:
        raise InvalidJob(
            f"{name} {version} comes without a SHA-256 hash from the package index: without one a node cannot check "
            "that it installs the same",
            field="requires",
        )
    canonical = re.sub(r"[-_.]+", "-", name).lower()
    return f"{canonical}=={version} --hash=sha256:{digest}"
