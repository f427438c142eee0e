"""From what people give to the CID that it means; IPNS names are resolved by a kubo, or by records from gateways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from farlane.errors import FarlaneError, InvalidInput, NotFound, Unavailable
from farlane.kit.clock import Clock, SystemClock
from farlane.models.cid import Cid
from farlane.models.ipfs.address import parse_address
from farlane.models.ipfs.endpoint import Endpoint
from farlane.models.ipfs.ipns import MAX_RECORD_BYTES, IpnsRecord, open_record, parse_ipns_name
from farlane.models.ipfs.rpc import KuboRpc

RECORD_TYPE: Final = "application/vnd.ipfs.ipns-record"
RECORD_TIMEOUT_S: Final = 60.0
"""A gateway may have to ask the DHT."""


def resolve(
    address: str,
    gateways: Sequence[str],
    rpc: KuboRpc | None,
    *,
    offline: bool = False,
    clock: Clock | None = None,
) -> Cid:
    """Return the CID that an address means.

    Args:
        address: `ipfs://CID`, a CID, or `ipns://NAME`.
        gateways: asked for the name's record where there is no kubo.
        rpc: of a kubo that resolves names, None where gateways are asked.
        offline: ask nobody for a newer record than the kubo has.
        clock: tells which records are still valid.

    Raises:
        InvalidInput: it is no address, or its name leads to something else than a CID.
        NotFound: there is no record of the name.
        Unavailable: nobody could be asked.
    """
    found = parse_address(address)
    if found.cid is not None:
        return found.cid
    if rpc is not None:
        path = rpc.resolve(found.ipns, offline=offline)
    else:
        path = newest_record(found.ipns, gateways, clock or SystemClock()).path
    target = parse_address(path)
    if target.cid is None:
        raise InvalidInput(f"ipns://{found.ipns} leads to {path[:160]}: expected the CID of a version")
    return target.cid


def newest_record(name: str, gateways: Sequence[str], clock: Clock) -> IpnsRecord:
    """Return the newest record of a name that any of the gateways has, its signature checked.

    Raises:
        InvalidInput: the name is not of an Ed25519 key.
        NotFound: none of them has a valid record.
        Unavailable: at least one could not be asked, and no other has a record.
    """
    key = parse_ipns_name(name)
    records, problems = [], []
    for url in gateways:
        try:
            records.append(open_record(_fetched(Endpoint(url), name), key, clock.now()))
        except FarlaneError as error:
            problems.append(error)
    if records:
        return max(records, key=lambda record: (record.sequence, record.valid_until))
    said = "; ".join(error.message for error in problems[:3])
    kind = NotFound if all(isinstance(error, NotFound) for error in problems) else Unavailable
    raise kind(f"no gateway gives a valid record of ipns://{name}: {said}")


def _fetched(endpoint: Endpoint, name: str) -> bytes:
    answer = endpoint.ask(
        "GET", f"/ipns/{name}?format=ipns-record", headers={"Accept": RECORD_TYPE}, max_bytes=MAX_RECORD_BYTES,
        timeout_s=RECORD_TIMEOUT_S,
    )  # fmt: skip
    if answer.status in {404, 410}:
        raise NotFound(f"{endpoint.place} has no record of {name}")
    if answer.status != 200:
        raise Unavailable(f"{endpoint.place} answers HTTP {answer.status} for the record of {name}")
    return answer.body
