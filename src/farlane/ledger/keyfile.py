"""Key files: one secp256k1 key under a password, as keystore v3, which every Ethereum wallet reads."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from farlane.errors import Corrupted, FarlaneError, InvalidInput, TooLarge, Unauthenticated
from farlane.kit.recursion import recursion_limit_kept
from farlane.ledger.accounts import Address, PrivateKey, parse_address
from farlane.ledger.passwords import Password, check_chosen

CHOSEN_SCRYPT_N = 2**18
"""Cost of a guess at a password that somebody chose: 256 MiB. Source: Web3 Secret Storage Definition, scrypt."""
RANDOM_SCRYPT_N = 2**12
"""For 256 random bits, which nobody can guess at any cost; a daemon starts without a second's wait."""
MAX_BYTES = 64 * 1024
_MAX_SCRYPT_BYTES = 2**30
_MAX_SCRYPT_P = 16
_MAX_PBKDF2_ROUNDS = 10**7


class _ScryptParams(msgspec.Struct):
    dklen: Literal[32]
    n: int
    r: int
    p: int
    salt: str


class _Pbkdf2Params(msgspec.Struct):
    dklen: Literal[32]
    c: int
    prf: Literal["hmac-sha256"]
    salt: str


class _CipherParams(msgspec.Struct):
    iv: str


class _Crypto(msgspec.Struct):
    cipher: Literal["aes-128-ctr"]
    cipherparams: _CipherParams
    ciphertext: str
    kdf: Literal["scrypt", "pbkdf2"]
    kdfparams: dict[str, Any]
    mac: str


def seal(key: PrivateKey, password: Password) -> bytes:
    """Return the key file of a key: scrypt, then AES-128-CTR and a MAC.

    The work of scrypt follows from who made the password: `CHOSEN_SCRYPT_N` (0.7 s) or `RANDOM_SCRYPT_N` (10 ms).

    Source: Web3 Secret Storage Definition, version 3.

    Raises:
        InvalidInput: somebody chose the password, and it is too short.
    """
    if not password.random:
        check_chosen(password.secret)
    with recursion_limit_kept():
        from eth_keyfile.keyfile import create_keyfile_json

    cost = RANDOM_SCRYPT_N if password.random else CHOSEN_SCRYPT_N
    content = create_keyfile_json(key.to_bytes(), password.secret, kdf="scrypt", iterations=cost)
    content["address"] = key.address[2:].lower()  # as geth writes it
    return json.dumps(content, indent=2).encode() + b"\n"


def unseal(raw: bytes, password: Password, name: str) -> PrivateKey:
    """Return the key of a key file.

    Args:
        raw: the file's content, of whatever wallet.
        password: what it was sealed with.
        name: what to call the file in errors.

    Raises:
        InvalidInput: it is no keystore v3, or asks for a key derivation beyond what any wallet uses.
        Unauthenticated: the password is wrong.
        Corrupted: it is damaged, or holds the key of another address than it says.
        TooLarge: beyond 64 KiB.
    """
    document, address = _parse(raw, name)
    secret = _decrypted(document, password, name)
    try:
        key = PrivateKey.from_bytes(secret)
    except InvalidInput:
        raise _damaged(name, "what it holds is not a secp256k1 key") from None
    if address is not None and key.address != address:
        raise Corrupted(
            f"{name} says that it holds the key of {address}, but holds that of {key.address}: the file was changed; "
            "do not use it, restore it from a backup",
            expected=address,
            found=key.address,
        )
    return key


def address_in(raw: bytes, name: str) -> Address | None:
    """Return the address that a key file says it is for, unproven; None if it does not say.

    Raises:
        InvalidInput, Corrupted, TooLarge: as `unseal`.
    """
    return _parse(raw, name)[1]


def _parse(raw: bytes, name: str) -> tuple[dict[str, Any], Address | None]:
    if len(raw) > MAX_BYTES:
        raise TooLarge(f"{name} has {len(raw)} bytes; a key file has at most {MAX_BYTES}")
    try:
        document = _lowered(json.loads(raw))
    except (ValueError, RecursionError):
        raise InvalidInput(
            f"{name} is not a key file, or its end is missing: expected keystore v3, JSON"
        ) from None
    if not isinstance(document, dict) or "version" not in document or "crypto" not in document:
        raise InvalidInput(
            f"{name} is not a key file: expected keystore v3, JSON with `version` and `crypto`"
        )
    if document["version"] != 3:
        raise InvalidInput(
            f"{name} is a keystore of version {str(document['version'])[:20]}; expected 3: export it as v3 from the "
            "wallet that made it"
        )
    _check_crypto(document["crypto"], name)
    return document, _address(document.get("address"), name)


def _check_crypto(crypto: object, name: str) -> None:
    try:
        found = msgspec.convert(crypto, _Crypto)
        params = _params(found)
    except msgspec.ValidationError as error:
        raise _damaged(name, str(error)) from None
    for field, text, size in (
        ("ciphertext", found.ciphertext, 32), ("mac", found.mac, 32),
        ("iv", found.cipherparams.iv, 16), ("salt", params.salt, None),
    ):  # fmt: skip
        _check_hex(field, text, size, name)
    if not _bearable(params):
        raise InvalidInput(
            f"{name} asks for a key derivation that no wallet uses ({found.kdf}); refused, since opening it could take "
            "all memory or for ever"
        )


def _params(crypto: _Crypto) -> _ScryptParams | _Pbkdf2Params:
    if crypto.kdf == "scrypt":
        return msgspec.convert(crypto.kdfparams, _ScryptParams)
    return msgspec.convert(crypto.kdfparams, _Pbkdf2Params)


def _bearable(params: _ScryptParams | _Pbkdf2Params) -> bool:
    if isinstance(params, _Pbkdf2Params):
        return 0 < params.c <= _MAX_PBKDF2_ROUNDS
    return _bearable_scrypt(params)


def _bearable_scrypt(params: _ScryptParams) -> bool:
    n, r = params.n, params.r
    power_of_two = n > 1 and n & (n - 1) == 0
    return power_of_two and r > 0 and 128 * n * r <= _MAX_SCRYPT_BYTES and 0 < params.p <= _MAX_SCRYPT_P


def _check_hex(field: str, text: str, size: int | None, name: str) -> None:
    try:
        length = len(bytes.fromhex(text.removeprefix("0x")))
    except ValueError:
        raise _damaged(name, f"{field} is not hex") from None
    if length != (size or length or None):
        raise _damaged(name, f"{field} has {length} bytes; expected {size or 'some'}")


def _address(said: object, name: str) -> Address | None:
    if said is None or said == "":
        return None
    try:
        return parse_address("0x" + str(said).removeprefix("0x").lower())
    except InvalidInput:
        raise _damaged(name, "its address is not one") from None


def _decrypted(document: dict[str, Any], password: Password, name: str) -> bytes:
    with recursion_limit_kept():
        from eth_keyfile.exceptions import EthKeyfileValueError
        from eth_keyfile.keyfile import decode_keyfile_json

    # Raised outside of the handlers: the library's error leads to frames that hold password and derived key.
    try:
        return decode_keyfile_json(document, password.secret)
    except EthKeyfileValueError:
        problem: FarlaneError = Unauthenticated(f"the password is wrong for {name}")
    except (ValueError, TypeError, KeyError):
        problem = _damaged(name, "the library cannot read it")
    raise problem


def _damaged(name: str, why: str) -> Corrupted:
    return Corrupted(f"{name} is a damaged key file: {why}. Restore it from a backup")


def _lowered(value: Any) -> Any:
    # Early wallets wrote `Crypto`.
    if isinstance(value, dict):
        return {key.lower(): _lowered(inner) for key, inner in value.items()}
    return value
