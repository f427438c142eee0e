"""Calls, results, logs and errors of contracts, between Python values and the bytes that the chain sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from farlane.errors import Corrupted, InvalidInput
from farlane.ledger.accounts import address_from_bytes
from farlane.ledger.keccak import keccak256

Entry = Mapping[str, Any]
"""One function, event or error of a contract, as the compiler describes it."""

Abi = Sequence[Entry]
"""The `abi` field of an artifact."""

_BUILT_IN_ERRORS: Abi = (
    {"type": "error", "name": "Error", "inputs": [{"name": "reason", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)
"""What `require` and the compiler's own checks revert with. Source: Solidity, Errors and the Revert Statement."""


def signature(entry: Entry) -> str:
    """Return `name(type,...)` with structs written as tuples: what selectors and topics are hashed from."""
    return f"{entry['name']}({','.join(_types(entry['inputs']))})"


def selector(entry: Entry) -> bytes:
    """Return the 4 bytes that a call or a custom error starts with."""
    return _hash(signature(entry))[:4]


def topic(abi: Abi, event: str) -> bytes:
    """Return the 32-byte first topic of an event's logs.

    Raises:
        InvalidInput: the contract has no such event.
    """
    return _hash(signature(_find(abi, "event", event)))


def encode_call(abi: Abi, name: str, args: Sequence[Any] = ()) -> bytes:
    """Return the call data for a function; a struct is given as a sequence, or as a mapping by field name.

    Raises:
        InvalidInput: the contract has no such function, or the arguments do not fit its types.
    """
    entry = _find(abi, "function", name, len(args))
    return selector(entry) + _encode(entry["inputs"], args, signature(entry))


def encode_constructor(abi: Abi, bytecode: bytes, args: Sequence[Any] = ()) -> bytes:
    """Return the data of the transaction that creates a contract.

    Raises:
        InvalidInput: the arguments do not fit the constructor's types.
    """
    inputs = next((entry["inputs"] for entry in abi if entry["type"] == "constructor"), ())
    return bytecode + _encode(inputs, args, f"constructor({','.join(_types(inputs))})")


def decode_result(abi: Abi, name: str, data: bytes) -> Any:
    """Return what a call gave back: None, the one value, or a tuple of several. Addresses are checksummed.

    Raises:
        InvalidInput: the contract has no such function, or several of that name with different results.
        Corrupted: the bytes are not of the function's types; as a rule no such contract is at that address.
    """
    outputs = _one_result(abi, name)
    values = _decode(outputs, data, f"the result of {name}")
    return values if len(outputs) > 1 else next(iter(values), None)


def decode_log(abi: Abi, log: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the fields of an event.

    Indexed fields of dynamic types come as their 32-byte hash: the log holds no more of them.

    Args:
        abi: of the contract that wrote it.
        log: as JSON-RPC gives it: `topics` and `data` in hex.

    Raises:
        InvalidInput: the contract has no event with this topic.
        Corrupted: the log does not fit the event's types.
    """
    topics = [_from_hex(each) for each in log["topics"]]
    entry = next((e for e in _of_type(abi, "event") if topics and _hash(signature(e)) == topics[0]), None)
    if entry is None:
        raise InvalidInput("this log is of no event of the contract; was it read with the right artifact?")
    indexed = [field for field in entry["inputs"] if field["indexed"]]
    if len(indexed) != len(topics) - 1:
        raise Corrupted(
            f"a log of {signature(entry)} has {len(indexed)} indexed fields, not {len(topics) - 1}"
        )
    what = f"a log of {signature(entry)}"
    values = {
        field["name"]: raw if _is_dynamic(field) else _decode([field], raw, what)[0]
        for field, raw in zip(indexed, topics[1:], strict=True)
    }
    plain = [field for field in entry["inputs"] if not field["indexed"]]
    decoded = _decode(plain, _from_hex(log["data"]), what)
    values |= {field["name"]: value for field, value in zip(plain, decoded, strict=True)}
    return entry["name"], {field["name"]: values[field["name"]] for field in entry["inputs"]}


def decode_error(abi: Abi, data: bytes) -> tuple[str, tuple[Any, ...]]:
    """Return the name and the arguments of what a contract reverted with.

    It never raises: an error the contract does not know is named by its selector in hex, no data by "".
    """
    if len(data) < 4:
        return "", ()
    for entry in (*_of_type(abi, "error"), *_BUILT_IN_ERRORS):
        if selector(entry) == data[:4]:
            try:
                return entry["name"], _decode(entry["inputs"], data[4:], entry["name"])
            except Corrupted:
                return entry["name"], ()
    return "0x" + data[:4].hex(), ()


def _of_type(abi: Abi, kind: str) -> Iterable[Entry]:
    return (entry for entry in abi if entry["type"] == kind)


def _find(abi: Abi, kind: str, name: str, arity: int | None = None) -> Entry:
    named = [entry for entry in _of_type(abi, kind) if entry["name"] == name]
    found = [entry for entry in named if arity is None or len(entry["inputs"]) == arity]
    if len(found) == 1:
        return found[0]
    known = ", ".join(signature(entry) for entry in named) or "none of that name"
    given = "" if arity is None else f" with {arity} arguments"
    raise InvalidInput(f"the contract has no single {kind} {name}{given}; it has {known}", name=name)


def _one_result(abi: Abi, name: str) -> Sequence[Entry]:
    named = [entry for entry in _of_type(abi, "function") if entry["name"] == name]
    if not named:
        raise InvalidInput(f"the contract has no function {name}", name=name)
    if len({tuple(_types(entry["outputs"])) for entry in named}) > 1:
        raise InvalidInput(
            f"the functions named {name} give different results: pass the one entry", name=name
        )
    outputs: Sequence[Entry] = named[0]["outputs"]
    return outputs


def _types(fields: Iterable[Entry]) -> list[str]:
    return [_type(field) for field in fields]


def _type(field: Entry) -> str:
    kind: str = field["type"]
    if kind.startswith("tuple"):
        return f"({','.join(_types(field['components']))}){kind.removeprefix('tuple')}"
    return kind


def _is_dynamic(field: Entry) -> bool:
    kind: str = field["type"]
    return kind in ("string", "bytes") or kind.endswith("]") or kind.startswith("tuple")


@lru_cache(maxsize=1024)
def _hash(text: str) -> bytes:
    return keccak256(text.encode())


def _encode(fields: Sequence[Entry], args: Sequence[Any], what: str) -> bytes:
    from eth_abi import encode
    from eth_abi.exceptions import EncodingError

    if len(fields) != len(args):
        raise InvalidInput(f"{what} takes {len(fields)} arguments; {len(args)} were given")
    try:
        return encode(_types(fields), [_plain(f, a) for f, a in zip(fields, args, strict=True)])
    except (EncodingError, TypeError, ValueError, KeyError) as error:
        raise InvalidInput(f"the arguments do not fit {what}: {error}") from error


def _plain(field: Entry, value: Any) -> Any:
    """Return a value with each struct as a tuple in the order of its fields."""
    kind: str = field["type"]
    if kind.endswith("]"):
        element = {**field, "type": kind[: kind.rindex("[")]}
        return [_plain(element, each) for each in value]
    if kind != "tuple":
        return value
    parts = field["components"]
    in_order = [value[part["name"]] for part in parts] if isinstance(value, Mapping) else value
    return tuple(_plain(part, each) for part, each in zip(parts, in_order, strict=True))


def _decode(fields: Sequence[Entry], data: bytes, what: str) -> tuple[Any, ...]:
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        values = decode(_types(fields), data)
    except (DecodingError, OverflowError, UnicodeDecodeError) as error:
        raise Corrupted(f"{what} is not {','.join(_types(fields))}: {error}") from error
    return tuple(_readable(field, value) for field, value in zip(fields, values, strict=True))


def _readable(field: Entry, value: Any) -> Any:
    kind: str = field["type"]
    if kind.endswith("]"):
        element = {**field, "type": kind[: kind.rindex("[")]}
        return tuple(_readable(element, each) for each in value)
    if kind == "tuple":
        return tuple(_readable(f, v) for f, v in zip(field["components"], value, strict=True))
    return address_from_bytes(bytes.fromhex(value[2:])) if kind == "address" else value


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise Corrupted(f"{text[:80]!r} is not hex") from error
