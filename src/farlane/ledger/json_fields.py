"""Fields of a JSON object that a stranger wrote: each taken once and by its kind; what is left over is an error."""

from __future__ import annotations

from typing import Any

from farlane.errors import InvalidInput
from farlane.ledger.accounts import Address, parse_address

MAX_DIGITS = 40
"""Decimal digits of a long number: 2^128 has 39."""


class Fields:
    """One JSON object.

    Args:
        subject: what kind of document it is of, for messages: `receipt`.
        where: its place in the document.
        found: what was parsed.

    Raises:
        InvalidInput: it is no object; so do all of its methods where a field is missing or of another kind.
    """

    def __init__(self, subject: str, where: str, found: Any) -> None:
        if not isinstance(found, dict):
            raise InvalidInput(f"the {subject}'s {where} is not an object")
        self._subject, self._where, self._found = subject, where, dict(found)

    def has(self, name: str) -> bool:
        """Tell whether a field that may be missing is there."""
        return name in self._found

    def take(self, name: str, kind: type) -> Any:
        """Return a field of exactly this type."""
        if name not in self._found:
            raise InvalidInput(f"the {self._subject}'s {self._where} lacks {name!r}")
        value = self._found.pop(name)
        if type(value) is not kind:
            raise InvalidInput(f"{self._name(name)} is {value!r:.80}; expected {kind.__name__}")
        return value

    def part(self, name: str) -> Fields:
        """Return an object inside this one."""
        return Fields(self._subject, name, self.take(name, dict))

    def number(self, name: str, bits: int = 64) -> int:
        """Return a whole number from 0 that fits `bits`."""
        value: int = self.take(name, int)
        return self._within(name, value, bits)

    def long_number(self, name: str, bits: int) -> int:
        """Return a number that stands there as decimal digits, since JSON's numbers are not exact everywhere."""
        text: str = self.take(name, str)
        if not text.isascii() or not text.isdecimal() or len(text) > MAX_DIGITS or text != str(int(text)):
            raise InvalidInput(f"{self._name(name)} is {text!r:.80}; expected digits, without zeros in front")
        return self._within(name, int(text), bits)

    def digits(self, name: str, size: int | None) -> bytes:
        """Return bytes that stand there as lower-case hex digits; size None: any number of them."""
        text: str = self.take(name, str)
        return hex_bytes(self._name(name), text, size)

    def address(self, name: str) -> Address:
        """Return an address written with its checksum."""
        address = parse_address(text := self.take(name, str))
        if address != text:
            raise InvalidInput(f"{self._name(name)} is not written as EIP-55 says")
        return address

    def end(self) -> None:
        """Check that nothing is left over."""
        if self._found:
            names = ", ".join(sorted(self._found))
            raise InvalidInput(f"the {self._subject}'s {self._where} has unknown fields: {names:.200}")

    def _name(self, name: str) -> str:
        return f"the {self._subject}'s {self._where}.{name}"

    def _within(self, name: str, value: int, bits: int) -> int:
        if not 0 <= value < 1 << bits:
            raise InvalidInput(f"{self._name(name)} does not fit {bits} bits")
        return value


def hex_bytes(name: str, text: str, size: int | None) -> bytes:
    """Return the bytes of lower-case hex digits.

    Raises:
        InvalidInput: they are something else, or another number.
    """
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = None
    if raw is None or raw.hex() != text or (size is not None and len(raw) != size):
        raise InvalidInput(f"{name} is not {'' if size is None else f'{2 * size} '}hex digits in lower case")
    return raw
