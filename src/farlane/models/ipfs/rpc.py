"""The RPC API of a running kubo, as far as models need it. Source: kubo's RPC API v0 reference."""

from __future__ import annotations

import base64
import json
import re
import secrets
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from farlane.errors import FarlaneError, InvalidInput, NotFound, Unavailable
from farlane.models.ipfs.endpoint import Answer, Body, Endpoint
from farlane.models.ipfs.rpc_errors import meaning, message_of, refusal

DEFAULT_URL: Final = "http://127.0.0.1:5001"
MAX_BLOCK_BYTES: Final = 2 << 20
"""The largest block that bitswap carries. Source: the bitswap protocol's specification, block sizes."""
MAX_ANSWER_BYTES: Final = 32 << 20
IMPORT_TIMEOUT_S: Final = 3600.0
_KEY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")

Options = Mapping[str, str | int | bool | None]


@dataclass(frozen=True)
class Peer:
    """Who a kubo is."""

    id: str
    """Its peer id."""
    addresses: tuple[str, ...]
    """Multiaddresses that end in the peer id."""
    agent: str
    """What software it runs."""


@dataclass(frozen=True)
class Record:
    """An IPNS record that a kubo signed."""

    name: str
    """The key that signed it, as a CID of codec libp2p-key: what follows `/ipns/`."""
    path: str
    """Where it points, such as `/ipfs/bafy...`."""


class KuboRpc:
    """Calls a kubo; may be used from any thread. CIDs and paths are text here.

    Every call raises, besides what it names: `Unavailable` and `ConnectionLost` if there is no kubo,
    `DeadlineExceeded`, `Unauthenticated` and `PermissionRefused`, and `Conflict` for what has no better word.

    Args:
        url: of the RPC API.
        secret: for a kubo with `API.Authorizations`: `bearer:TOKEN`, `basic:USER:PASSWORD` or a bare token.
        timeout_s: for each call but imports.

    Raises:
        InvalidInput: if the URL is none, or a secret would travel in the clear.
    """

    def __init__(self, url: str = DEFAULT_URL, *, secret: str | None = None, timeout_s: float = 60.0) -> None:
        self._endpoint = Endpoint(url, timeout_s=timeout_s)
        if secret and not self._endpoint.is_private_way:
            raise InvalidInput(
                f"the secret of a kubo would travel in the clear to {self._endpoint.place}: use https, or a tunnel"
            )
        self._headers = {"Authorization": _authorization(secret)} if secret else {}

    @property
    def place(self) -> str:
        """How messages call the kubo."""
        return self._endpoint.place

    def version(self) -> str:
        """Return the kubo's version, such as `0.43.0`."""
        return str(self._document("version")["Version"])

    def identity(self) -> Peer:
        """Return who the kubo is and where it listens."""
        found = self._document("id")
        return Peer(str(found["ID"]), tuple(found.get("Addresses") or ()), str(found.get("AgentVersion", "")))

    def connect(self, address: str) -> None:
        """Connect to another peer.

        Raises:
            Unavailable: if it cannot be reached.
            InvalidInput: if that is no multiaddress with a peer id.
        """
        self._document("swarm/connect", [address])

    def add(self, data: Body, options: Options | None = None) -> str:
        """Add one file as `ipfs add` does and return its CID.

        Args:
            data: the file's bytes, whole or in pieces.
            options: of `ipfs add`, such as `{"cid-version": 1}`.
        """
        chosen: Options = {"quieter": True, "progress": False, **(options or {})}
        lines = self._lines("add", options=chosen, file=data)
        return str(self._last(lines, "add")["Hash"])

    def put_block(self, data: bytes, codec: str) -> str:
        """Keep one block and return its CID.

        Args:
            data: at most `MAX_BLOCK_BYTES`.
            codec: `raw`, `dag-pb` or `dag-cbor`.
        """
        options: Options = {"cid-codec": codec, "mhtype": "sha2-256", "allow-big-block": False}
        return str(self._document("block/put", options=options, file=data)["Key"])

    def block(self, cid: str, *, offline: bool = True) -> bytes:
        """Return one block's bytes, unverified.

        Args:
            cid: of the block.
            offline: look only into the kubo's own store, and not in the network.

        Raises:
            NotFound: if it is not there.
            TooLarge: if it is beyond `MAX_BLOCK_BYTES`.
        """
        return self._ask("block/get", [cid], {"offline": offline}, max_bytes=MAX_BLOCK_BYTES).body

    def block_size(self, cid: str) -> int | None:
        """Return the size in bytes of a block in the kubo's own store, or None if it is not there."""
        try:
            return int(self._document("block/stat", [cid], {"offline": True})["Size"])
        except NotFound:
            return None

    def remove_block(self, cid: str) -> bool:
        """Remove one block and tell whether it was there.

        Raises:
            Conflict: if it is pinned.
        """
        found = self._last(self._lines("block/rm", [cid], {"offline": True}), "block/rm")
        problem = str(found.get("Error") or "")
        if problem and meaning(problem) is not NotFound:
            raise meaning(problem)(f"the kubo at {self.place} does not remove {cid}: {problem}")
        return not problem

    def local_blocks(self) -> Iterator[str]:
        """Yield the CID of every block in the kubo's store, all as CIDv1 of raw blocks, whatever they are."""
        for line in self._lines("refs/local", max_bytes=1 << 30):
            yield str(line["Ref"])

    def import_car(self, pieces: Iterable[bytes]) -> None:
        """Take all blocks of a CAR file; nothing of it is pinned.

        Raises:
            DiskFull: if the kubo has no room.
            InvalidInput: if it is no CAR.
        """
        # Pinning is a call of its own: pinned by the import itself, a hole would be looked for in the network for ever.
        self._lines("dag/import", options={"pin-roots": False}, file=pieces, timeout_s=IMPORT_TIMEOUT_S)

    def pin(self, cid: str, *, name: str | None = None, recursive: bool = True, offline: bool = True) -> None:
        """Keep a block, and all below it, from the kubo's garbage collection.

        Raises:
            NotFound: if a block of it is missing.
        """
        if recursive and offline:
            self.check_complete(cid)
        options: Options = {"recursive": recursive, "name": name, "progress": False}
        self._document("pin/add", [cid], options, timeout_s=IMPORT_TIMEOUT_S)

    def check_complete(self, cid: str) -> None:
        """Make sure that a block and all below it are in the kubo's own store; `pin/add` would look for them endlessly.

        Raises:
            NotFound: if one is missing.
        """
        options: Options = {"recursive": True, "unique": True, "offline": True}
        for line in self._lines("refs", [cid], options, timeout_s=IMPORT_TIMEOUT_S, max_bytes=1 << 30):
            if problem := str(line.get("Err") or ""):
                raise meaning(problem)(f"the kubo at {self.place} lacks a part of {cid}: {problem}", cid=cid)

    def unpin(self, cid: str) -> bool:
        """Give a pinned block free and tell whether it had been pinned."""
        try:
            self._document("pin/rm", [cid])
        except NotFound:
            return False
        return True

    def pins(self) -> dict[str, str]:
        """Return the name of every recursive pin by its CID; the empty text where it has none."""
        found = self._document("pin/ls", options={"type": "recursive", "names": True})
        return {cid: str(pin.get("Name") or "") for cid, pin in (found.get("Keys") or {}).items()}

    def keys(self) -> dict[str, str]:
        """Return the kubo's IPNS names by the names of their keys."""
        found = self._document("key/list", options={"ipns-base": "base36"})
        return {str(key["Name"]): str(key["Id"]) for key in found.get("Keys") or ()}

    def ensure_key(self, name: str) -> str:
        """Return the IPNS name of a key, which is made if it does not exist.

        Raises:
            InvalidInput: if `name` is not of letters, digits and `._-:/@`.
        """
        if not _KEY_NAME.fullmatch(name):
            raise InvalidInput(
                f"{name[:150]!r} cannot name a key: expected 1 to 128 of a-z, A-Z, 0-9 and ._-:/@, none of these first"
            )
        if found := self.keys().get(name):
            return found
        return str(self._document("key/gen", [name], {"type": "ed25519", "ipns-base": "base36"})["Id"])

    def publish(self, path: str, key: str, *, lifetime_s: int, ttl_s: int, offline: bool = False) -> Record:
        """Sign an IPNS record with one of the kubo's keys and spread it.

        Args:
            path: what it shall point to, such as `/ipfs/bafy...`.
            key: the key's name.
            lifetime_s: seconds until the record is void, unless the kubo renews it.
            ttl_s: seconds a reader may cache it.
            offline: the kubo keeps it for itself, and tells nobody.
        """
        options: Options = {
            "key": key, "lifetime": f"{lifetime_s}s", "ttl": f"{ttl_s}s", "resolve": False,
            "allow-offline": offline, "offline": offline, "ipns-base": "base36",
        }  # fmt: skip
        found = self._document("name/publish", [path], options)
        return Record(str(found["Name"]), str(found["Value"]))

    def resolve(self, name: str, *, offline: bool = False) -> str:
        """Return the path that an IPNS name points to.

        Args:
            name: with or without `/ipns/`.
            offline: trust the record in the kubo's own store, and ask nobody for a newer one.

        Raises:
            NotFound: if there is no record of it.
        """
        return str(
            self._document("name/resolve", [f"/ipns/{name.removeprefix('/ipns/')}"], {"offline": offline})[
                "Path"
            ]
        )

    def _document(
        self,
        command: str,
        arguments: Sequence[str] = (),
        options: Options | None = None,
        *,
        file: Body | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        lines = self._lines(command, arguments, options, file=file, timeout_s=timeout_s)
        return self._last(lines, command)

    def _lines(
        self,
        command: str,
        arguments: Sequence[str] = (),
        options: Options | None = None,
        *,
        file: Body | None = None,
        timeout_s: float | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> list[dict[str, Any]]:
        """Return the documents of an answer, one a line; an error among them is raised."""
        answer = self._ask(command, arguments, options, file=file, timeout_s=timeout_s, max_bytes=max_bytes)
        try:
            lines = [json.loads(line) for line in answer.body.splitlines() if line.strip()]
        except (ValueError, RecursionError) as error:
            raise self._nonsense(command) from error
        for line in lines:
            if not isinstance(line, dict):
                raise self._nonsense(command)
            if line.get("Type") == "error":  # of a command that had begun to answer
                text = message_of(json.dumps(line).encode())
                raise meaning(text)(f"the kubo at {self.place} gave up {command}: {text}")
        return lines

    def _last(self, lines: list[dict[str, Any]], command: str) -> dict[str, Any]:
        if not lines:
            raise self._nonsense(command)
        return _Checked(lines[-1], self._nonsense(command))

    def _ask(
        self,
        command: str,
        arguments: Sequence[str] = (),
        options: Options | None = None,
        *,
        max_bytes: int,
        file: Body | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        pairs = [("arg", argument) for argument in arguments]
        pairs += [(name, _option(value)) for name, value in (options or {}).items() if value is not None]
        path = f"/api/v0/{command}?{urllib.parse.urlencode(pairs)}"
        headers, body = dict(self._headers), None
        if file is not None:
            boundary = secrets.token_hex(24)  # random: no file can contain it on purpose
            headers["Content-Type"] = f'multipart/form-data; boundary="{boundary}"'
            body = _multipart(file, boundary)
        answer = self._endpoint.ask(
            "POST", path, headers=headers, body=body, max_bytes=max_bytes, timeout_s=timeout_s
        )
        if answer.status != 200:
            raise refusal(command, answer.status, answer.body, self.place)
        return answer

    def _nonsense(self, command: str) -> Unavailable:
        return Unavailable(
            f"{self.place} answers {command} with what no kubo says: is it the RPC API of a kubo?"
        )


class _Checked(dict[str, Any]):
    """A document whose missing members are an error of the tree."""

    def __init__(self, content: Mapping[str, Any], error: FarlaneError) -> None:
        super().__init__(content)
        self._error = error

    def __missing__(self, name: str) -> Any:
        raise self._error


def _option(value: str | int | bool | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _authorization(secret: str) -> str:
    kind, separator, rest = secret.partition(":")
    if separator and kind == "basic":
        return "Basic " + base64.b64encode(rest.encode()).decode("ascii")
    token = rest if separator and kind == "bearer" else secret
    if any(character <= " " or character > "~" for character in token):
        raise InvalidInput(
            "the secret of a kubo holds spaces or other characters that no HTTP header carries"
        )
    return f"Bearer {token}"


def _multipart(file: Body, boundary: str) -> Iterator[bytes]:
    """Yield the one file of a form, as kubo takes it."""
    head = 'Content-Disposition: form-data; name="file"; filename="file"\r\nContent-Type: application/octet-stream'
    yield f"--{boundary}\r\n{head}\r\n\r\n".encode()
    if isinstance(file, bytes):
        if file:
            yield file
    else:
        yield from (piece for piece in file if piece)
    yield f"\r\n--{boundary}--\r\n".encode()
