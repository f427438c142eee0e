"""Contract ABIs: calls, results, logs and errors to bytes and back, from the artifacts' own descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from farlane.errors import Corrupted, InvalidInput
from farlane.ledger.accounts import address_from_bytes
from farlane.ledger.artifacts import load
from farlane.ledger.keccak import keccak256

Entry = Mapping[str, Any]
"""One function, event or error, as the compiler describes it; also one parameter of them."""

Contract = str | Sequence[Entry]
"""The name of one of our contracts, or any contract's `abi`."""

OUR_CONTRACTS = ("ComputeLedger", "CreditToken", "NetworkRegistry", "ModelRegistry", "ReceiptVerifier")

_BUILT_IN_ERRORS: Sequence[Entry] = (
    {"type": "error", "name": "Error", "inputs": [{"name": "reason", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)
"""What `require` and the compiler's own checks revert with. Source: Solidity, Errors and the Revert Statement."""


def kind_of(parameter: Entry) -> str:
    """Return a parameter's canonical type, structs spelled out: `(address,uint96)[]`."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(kind_of(part) for part in parameter["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def signature(entry: Entry) -> str:
    """Return `name(type,type)` of a function, event or error: what selectors and topics are hashed from."""
    return f"{entry['name']}({','.join(kind_of(part) for part in entry.get('inputs', ()))})"


def selector(contract: Contract, name: str) -> bytes:
    """Return the first four bytes of a call.

    Raises:
        InvalidInput: the contract has no such function, or several of that name.
    """
    return _hash(signature(_find(contract, "function", name)))[:4]


def topic(contract: Contract, event: str) -> bytes:
    """Return the 32-byte first topic of an event's logs.

    Raises:
        InvalidInput: the contract has no such event.
    """
    return _hash(signature(_find(contract, "event", event)))


def encode_call(contract: Contract, name: str, arguments: Sequence[Any] = ()) -> bytes:
    """Return the calldata of a call; a struct is given as a sequence, or as a mapping by field name.

    Raises:
        InvalidInput: the contract has no such function, or the arguments do not fit it.
    """
    entry = _find(contract, "function", name, len(arguments))
    return _hash(signature(entry))[:4] + _encode(entry["inputs"], arguments, signature(entry))


def encode_constructor(contract: str, arguments: Sequence[Any] = ()) -> bytes:
    """Return the data of the transaction that creates one of our contracts.

    Raises:
        InvalidInput: the arguments do not fit its constructor.
    """
    inputs = next((e.get("inputs", ()) for e in _entries(contract, "constructor")), ())
    return bytes.fromhex(load(contract)["bytecode"][2:]) + _encode(
        inputs, arguments, f"constructor of {contract}"
    )


def decode_result(contract: Contract, name: str, data: bytes) -> Any:
    """Return what a call gave back: None, the one value, or a tuple of several.

    Addresses are checksummed, structs are dictionaries by field name.

    Raises:
        InvalidInput: the contract has no such function, or the bytes are no such result: another contract, or
            none, stands at the address.
    """
    outputs = _find(contract, "function", name).get("outputs", ())
    try:
        values = _decode(outputs, data, f"the answer of {name}")
    except Corrupted as error:
        raise InvalidInput(f"{error.message}; is this the right contract's address?") from error
    return tuple(values) if len(values) > 1 else next(iter(values), None)


def decode_log(contract: Contract, topics: Sequence[bytes], data: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return an event's name and fields in their order, None for one that the contract does not know.

    An indexed field of a dynamic type comes as its 32-byte hash: the log holds no more of it.

    Raises:
        Corrupted: the log does not fit the event.
    """
    entry = next(
        (e for e in _entries(contract, "event") if topics and _hash(signature(e)) == topics[0]), None
    )
    if entry is None:
        return None
    what = f"a log of {signature(entry)}"
    indexed = [part for part in entry["inputs"] if part["indexed"]]
    plain = [part for part in entry["inputs"] if not part["indexed"]]
    if len(indexed) != len(topics) - 1:
        raise Corrupted(f"{what} has {len(topics) - 1} indexed fields; expected {len(indexed)}")
    found = dict(zip([part["name"] for part in plain], _decode(plain, data, what), strict=True))
    for part, raw in zip(indexed, topics[1:], strict=True):
        found[part["name"]] = raw if _hashed_when_indexed(part) else _decode([part], raw, what)[0]
    return entry["name"], {part["name"]: found[part["name"]] for part in entry["inputs"]}


def decode_error(
    data: bytes, contracts: Iterable[Contract] = OUR_CONTRACTS
) -> tuple[str, tuple[Any, ...]] | None:
    """Return the name and arguments of what a contract reverted with, None for an error nobody knows.

    It never raises: data that does not fit its error comes without arguments.
    """
    head = data[:4]
    known = [entry for contract in contracts for entry in _entries(contract, "error")]
    for entry in (*_BUILT_IN_ERRORS, *known):
        if _hash(signature(entry))[:4] == head:
            try:
                return entry["name"], tuple(_decode(entry.get("inputs", ()), data[4:], entry["name"]))
            except Corrupted:
                return entry["name"], ()
    return None


def error_text(name: str, arguments: Sequence[Any]) -> str:
    """Return a contract's error for people: `InsufficientBalance(5, 10)`."""
    return f"{name}({', '.join('0x' + a.hex() if isinstance(a, bytes) else str(a) for a in arguments)})"


def _entries(contract: Contract, what: str) -> Sequence[Entry]:
    if isinstance(contract, str):
        return _our_entries(contract, what)
    return [entry for entry in contract if entry["type"] == what]


@cache
def _our_entries(contract: str, what: str) -> tuple[Entry, ...]:
    return tuple(entry for entry in load(contract)["abi"] if entry["type"] == what)


def _find(contract: Contract, what: str, name: str, arity: int | None = None) -> Entry:
    named = [entry for entry in _entries(contract, what) if entry["name"] == name]
    found = [entry for entry in named if arity in (None, len(entry["inputs"]))]
    if len(found) == 1:
        return found[0]
    known = ", ".join(signature(entry) for entry in named) or "none of that name"
    given = "" if arity is None else f" with {arity} arguments"
    raise InvalidInput(f"the contract has no single {what} {name}{given}; it has {known}", name=name)


@lru_cache(maxsize=1024)
def _hash(text: str) -> bytes:
    return keccak256(text.encode())


def _hashed_when_indexed(parameter: Entry) -> bool:
    kind: str = parameter["type"]
    return kind in ("string", "bytes") or kind.endswith("]") or kind == "tuple"


def _encode(inputs: Sequence[Entry], arguments: Sequence[Any], where: str) -> bytes:
    from eth_abi.abi import encode
    from eth_abi.exceptions import EncodingError

    try:
        values = [_positional(part, value) for part, value in zip(inputs, arguments, strict=True)]
        return encode([kind_of(part) for part in inputs], values)
    except (EncodingError, TypeError, ValueError, KeyError) as error:
        raise InvalidInput(f"{where} does not take these arguments: {error}") from error


def _positional(parameter: Entry, value: Any) -> Any:
    """Return a value with each struct as a tuple in the order of its fields."""
    kind: str = parameter["type"]
    if kind.endswith("]") and kind.startswith("tuple"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return [_positional(inner, item) for item in value]
    if kind != "tuple":
        return value
    parts = parameter["components"]
    in_order = [value[part["name"]] for part in parts] if isinstance(value, Mapping) else value
    return tuple(_positional(part, item) for part, item in zip(parts, in_order, strict=True))


def _decode(outputs: Sequence[Entry], data: bytes, where: str) -> list[Any]:
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        values = decode([kind_of(part) for part in outputs], data)
    except (DecodingError, OverflowError, UnicodeDecodeError) as error:
        types = ",".join(kind_of(part) for part in outputs)
        raise Corrupted(f"{where} is no ({types}) in {len(data)} bytes") from error
    return [_readable(part, value) for part, value in zip(outputs, values, strict=True)]


def _readable(parameter: Entry, value: Any) -> Any:
    """Write addresses as people do, and structs by their fields, also inside arrays."""
    kind: str = parameter["type"]
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return [_readable(inner, item) for item in value]
    if kind == "tuple":
        parts = parameter["components"]
        return {part["name"]: _readable(part, item) for part, item in zip(parts, value, strict=True)}
    return address_from_bytes(bytes.fromhex(value[2:])) if kind == "address" else value
