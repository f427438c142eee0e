"""What people give to name something in IPFS: `ipfs://CID`, `/ipfs/CID`, a CID alone, `ipns://NAME` or `/ipns/NAME`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from farlane.errors import InvalidInput
from farlane.models.cid import Cid, parse_cid

_IPNS_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_EXPECTED: Final = "expected ipfs://CID, a CID, or ipns://NAME"


@dataclass(frozen=True, slots=True)
class Address:
    """Either a block by its CID, or an IPNS name (empty for none), which leads to one."""

    cid: Cid | None = None
    ipns: str = ""


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        InvalidInput: it is none, or has a path behind its CID or name.
    """
    scheme, rest = _split(text.strip())
    if "/" in rest.rstrip("/"):
        raise InvalidInput(f"{text[:160]!r} has a path; {_EXPECTED}, and nothing behind it")
    rest = rest.rstrip("/")
    if scheme == "ipfs":
        return Address(cid=parse_cid(rest))
    if _IPNS_NAME.fullmatch(rest) is None:
        raise InvalidInput(f"{text[:160]!r} is no IPNS name: {_EXPECTED}")
    return Address(ipns=rest)


def _split(text: str) -> tuple[str, str]:
    for scheme in ("ipfs", "ipns"):
        for prefix in (f"{scheme}://", f"/{scheme}/"):
            if text.startswith(prefix):
                return scheme, text[len(prefix) :]
    return "ipfs", text
