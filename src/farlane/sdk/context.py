"""Where the current network stands: from the environment, else from the client file that `farlane up` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farlane.errors import InvalidSetting, NotFound
from farlane.kit.files import atomic_write, private_directory, read_private

CLIENT_FILE = "client.json"
_MAX_FILE_BYTES = 64 * 1024
_EXPECTED = 'expected {"url": "https://host:port", "token": "fl1..."}'


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A hub's address and the token that proves who calls and which hub answers."""

    url: str
    token: str = field(repr=False)


def data_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Return the directory that holds this user's network: FARLANE_DIR, else `~/.farlane`."""
    known = os.environ if environ is None else environ
    return Path(known.get("FARLANE_DIR") or Path.home() / ".farlane").expanduser()


def current_endpoint(environ: Mapping[str, str] | None = None) -> Endpoint:
    """Return the network that commands and programs use when they name none.

    FARLANE_URL and FARLANE_TOKEN go first, then `client.json` in the data directory.

    Raises:
        NotFound: there is neither.
        InvalidSetting: only one of the two variables is set, or the file cannot be read.
    """
    known = os.environ if environ is None else environ
    url, token = known.get("FARLANE_URL", ""), known.get("FARLANE_TOKEN", "")
    if url and token:
        return Endpoint(url, token)
    if url or token:
        have, lack = ("FARLANE_URL", "FARLANE_TOKEN") if url else ("FARLANE_TOKEN", "FARLANE_URL")
        raise InvalidSetting(f"{have} is set but {lack} is not: set both, or neither to use the client file")
    return read_client_file(data_directory(known))


def read_client_file(directory: Path) -> Endpoint:
    """Read `client.json` of a data directory.

    Raises:
        NotFound: it is not there.
        InvalidSetting: it holds something else.
        PermissionRefused: others could have read the token.
    """
    path = directory / CLIENT_FILE
    try:
        text = read_private(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"no network here ({path} does not exist): run `farlane up` or set FARLANE_URL and FARLANE_TOKEN",
            path=str(path),
        ) from error
    except OSError as error:
        raise InvalidSetting(
            f"{path} cannot be read: {error.strerror}; {_EXPECTED}", path=str(path)
        ) from error
    return _endpoint(path, text)


def write_client_file(directory: Path, endpoint: Endpoint) -> Path:
    """Keep an endpoint as the current network of a data directory, readable by its owner only.

    Raises:
        DiskFull: if there is no room.
    """
    private_directory(directory)
    path = directory / CLIENT_FILE
    content = json.dumps({"url": endpoint.url, "token": endpoint.token}, indent=2)
    atomic_write(path, content.encode() + b"\n", 0o600)
    return path


def _endpoint(path: Path, text: bytes) -> Endpoint:
    try:
        found = json.loads(text) if len(text) <= _MAX_FILE_BYTES else None
    except (ValueError, RecursionError) as error:
        raise InvalidSetting(f"{path} is not JSON ({error}); {_EXPECTED}", path=str(path)) from error
    url, token = (found.get("url"), found.get("token")) if isinstance(found, dict) else (None, None)
    if not isinstance(url, str) or not isinstance(token, str) or not url or not token:
        raise InvalidSetting(f"{path} does not name a network; {_EXPECTED}", path=str(path))
    return Endpoint(url, token)
