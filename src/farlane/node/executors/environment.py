"""Environments: the packages of a lock, installed once per node into a directory that workers put on `sys.path`.

Only wheels with the hashes of the lock are installed and nothing is resolved or built, so no stranger's code runs here:
pip unpacks archives, and what is in them is imported only inside a worker.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from farlane.errors import InvalidInput, Unavailable
from farlane.kit.hashing import sha256_hex
from farlane.node.executors.scratch import remove_tree

_LINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*( --hash=sha256:[0-9a-f]{64})+")
_MAX_LINES = 2000
_SHOWN_CHARACTERS = 2000


def lock_digest(lines: Sequence[str]) -> str:
    """Return the lock hash: SHA-256 over the sorted lines, each ended by a newline."""
    return sha256_hex("".join(f"{line}\n" for line in sorted(lines)).encode())


class EnvironmentCache:
    """Site directories by lock hash.

    Args:
        directory: where they lie; made if missing. Several processes may share it.
        python: interpreter whose pip installs, the one that the workers run.
        timeout_s: how long one installation may take.
    """

    def __init__(self, directory: Path, *, python: str = sys.executable, timeout_s: float = 900.0) -> None:
        self._directory = directory
        self._python = python
        self._timeout_s = timeout_s
        # Wheels differ between versions of Python, and a node may be updated.
        self._tag = f"{sys.implementation.cache_tag}-{sys.platform}"

    def prepare(self, lines: Sequence[str], digest: str) -> Path:
        """Return the site directory of a lock, installed if it is not there yet. Blocks: call it in a thread.

        Args:
            lines: `name==version --hash=sha256:...`, complete: nothing else is fetched.
            digest: the lock hash the publisher gave; nobody can fill another lock's directory.

        Raises:
            InvalidInput: a line that is not of this form, or lines that do not match the digest.
            Unavailable: pip failed; the message ends with what it said.
        """
        _check(lines, digest)
        site = self._directory / f"{digest}-{self._tag}"
        if site.is_dir():
            return site
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._directory / f".{digest}.lock"):
            if not site.is_dir():  # another process may have made it while we waited
                self._install(lines, site)
        return site

    def _install(self, lines: Sequence[str], site: Path) -> None:
        temporary = site.with_name(f".{site.name}.{secrets.token_hex(8)}")
        requirements = temporary.with_suffix(".txt")
        try:
            requirements.write_text("".join(f"{line}\n" for line in lines))
            self._run_pip(requirements, temporary)
            temporary.mkdir(exist_ok=True)  # pip makes none for an empty lock
            os.rename(temporary, site)
        finally:
            requirements.unlink(missing_ok=True)
            if temporary.exists():
                remove_tree(str(temporary))

    def _run_pip(self, requirements: Path, target: Path) -> None:
        command = [
            self._python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ]
        command += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
        command += ["--target", str(target), "--requirement", str(requirements)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"the environment could not be installed within {self._timeout_s:.0f} s: is the package index "
                "reachable from this node?"
            ) from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[-_SHOWN_CHARACTERS:]
            raise Unavailable(
                "the environment could not be installed: this node needs a wheel for its own Python and platform "
                f"({self._tag}) with one of the lock's hashes. pip said: {said}"
            )


def _check(lines: Sequence[str], digest: str) -> None:
    if len(lines) > _MAX_LINES:
        raise InvalidInput(f"the lock has {len(lines)} lines, at most {_MAX_LINES} are accepted")
    for line in lines:
        if not _LINE.fullmatch(line):
            raise InvalidInput(
                f"lock line {line[:200]!r} is not of the form `name==version --hash=sha256:...`: options, URLs and "
                "unpinned versions are not accepted"
            )
    found = lock_digest(lines)
    if found != digest:
        raise InvalidInput(f"the lock's lines have the hash {found}, not {digest[:80]!r}: resolve it again")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting for it; it ends with the process that holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
