"""From what people give to the CID that it means; IPNS names are resolved by a kubo."""

from __future__ import annotations

from collections.abc import Sequence

from farlane.errors import InvalidInput
from farlane.models.cid import Cid
from farlane.models.ipfs.address import parse_address
from farlane.models.ipfs.rpc import KuboRpc


def resolve(address: str, gateways: Sequence[str], rpc: KuboRpc | None, *, offline: bool = False) -> Cid:
    """Return the CID that an address means.

    Args:
        address: `ipfs://CID`, a CID, or `ipns://NAME`.
        gateways: that may be asked for an IPNS record.
        rpc: of a kubo that resolves IPNS names, None where gateways are asked.
        offline: ask nobody for a newer record than the kubo has.

    Raises:
        InvalidInput: it is no address, or its name leads to something else than a CID.
        NotFound: there is no record of the name.
        Unavailable: nobody could be asked.
    """
    found = parse_address(address)
    if found.cid is not None:
        return found.cid
    if rpc is None:
        raise InvalidInput("an ipns:// name is resolved by a kubo: give --api instead of --gateway")
    path = rpc.resolve(found.ipns, offline=offline)
    target = parse_address(path)
    if target.cid is None:
        raise InvalidInput(f"ipns://{found.ipns} leads to {path[:160]}: expected the CID of a version")
    return target.cid
