"""Keys at rest: the key ring, key files of ours and of other wallets, and what is refused of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from traceback import TracebackException
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import (
    Conflict,
    Corrupted,
    FarlaneError,
    InvalidInput,
    NotFound,
    PermissionRefused,
    TooLarge,
    Unauthenticated,
)
from farlane.kit.recursion import recursion_limit_kept
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.keyfile import CHOSEN_SCRYPT_N, MAX_BYTES, RANDOM_SCRYPT_N, address_in, seal, unseal
from farlane.ledger.keystore import KeyRing, keys_directory
from farlane.ledger.passwords import Password

with recursion_limit_kept():
    from eth_account import Account

KEY = PrivateKey.from_bytes(b"\7" * 32)
OTHER = PrivateKey.from_bytes(b"\x08" * 32)
QUICK = Password(b"ab" * 32, random=True)
CHOSEN = Password(b"correct horse battery staple")


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys")


def test_the_work_of_a_guess_follows_from_who_made_the_password() -> None:
    for password, cost in ((QUICK, RANDOM_SCRYPT_N), (CHOSEN, CHOSEN_SCRYPT_N)):
        sealed = seal(KEY, password)
        assert json.loads(sealed)["crypto"]["kdfparams"]["n"] == cost
        assert unseal(sealed, password, "it").address == KEY.address
    assert CHOSEN_SCRYPT_N == 262144


def test_a_key_file_does_not_show_the_key() -> None:
    assert KEY.to_bytes().hex() not in seal(KEY, QUICK).decode()


def test_eth_account_opens_ours() -> None:
    assert Account.decrypt(json.loads(seal(KEY, QUICK)), QUICK.secret) == KEY.to_bytes()


@pytest.mark.parametrize(("kdf", "iterations"), [("scrypt", 1024), ("pbkdf2", 1000)])
def test_we_open_those_of_eth_account(kdf: str, iterations: int) -> None:
    made = json.dumps(Account.encrypt(KEY.to_bytes(), "pässword", kdf=kdf, iterations=iterations)).encode()
    assert address_in(made, "it") == KEY.address
    assert unseal(made, Password("pässword".encode()), "it").to_bytes() == KEY.to_bytes()


def test_an_old_wallets_capitals_and_a_missing_address_are_no_obstacle() -> None:
    document = json.loads(seal(KEY, QUICK))
    del document["address"]
    document["Crypto"] = document.pop("crypto")
    raw = json.dumps(document).encode()
    assert address_in(raw, "it") is None
    assert unseal(raw, QUICK, "it").address == KEY.address


def changed(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            document = document[name]
        document[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (changed("version", 1), InvalidInput, "version 1; expected 3"),
        (changed("address", OTHER.address), Corrupted, "says that it holds"),
        (changed("address", "0x12"), Corrupted, "address is not one"),
        (changed("crypto", []), Corrupted, "damaged"),
        (changed("crypto.cipher", "aes-128-cbc"), Corrupted, "damaged"),
        (changed("crypto.ciphertext", "00"), Corrupted, "ciphertext has 1 bytes; expected 32"),
        (changed("crypto.ciphertext", "zz" * 32), Corrupted, "ciphertext is not hex"),
        (changed("crypto.ciphertext", "00" * 32), Unauthenticated, "password is wrong"),
        (changed("crypto.mac", "00" * 32), Unauthenticated, "password is wrong"),
        (changed("crypto.mac", None), Corrupted, "damaged"),
        (changed("crypto.cipherparams.iv", "00"), Corrupted, "iv has 1 bytes"),
        (changed("crypto.cipherparams.iv", "00" * 16), Corrupted, "says that it holds"),
        (changed("crypto.kdf", "argon2"), Corrupted, "damaged"),
        (changed("crypto.kdfparams.salt", ""), Corrupted, "salt has 0 bytes"),
        (changed("crypto.kdfparams.dklen", 16), Corrupted, "damaged"),
        (changed("crypto.kdfparams.n", 2**40), InvalidInput, "no wallet uses"),
        (changed("crypto.kdfparams.n", 4095), InvalidInput, "no wallet uses"),
        (changed("crypto.kdfparams.n", -1), InvalidInput, "no wallet uses"),
        (changed("crypto.kdfparams.r", 2**20), InvalidInput, "no wallet uses"),
        (changed("crypto.kdfparams.p", 2**20), InvalidInput, "no wallet uses"),
        (changed("crypto.kdfparams", {}), Corrupted, "damaged"),
    ],
)
def test_what_was_changed_in_a_key_file_is_named(
    change: Callable[[dict[str, Any]], None], error: type[FarlaneError], said: str
) -> None:
    document = json.loads(seal(KEY, QUICK))
    change(document)
    with pytest.raises(error, match=said) as raised:
        unseal(json.dumps(document).encode(), QUICK, "it.json")
    assert "it.json" in raised.value.message
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\0", b"[]", b"{}", b'{"version": 3}', b"-----BEGIN EC", b"[" * 60000]
)
def test_what_is_no_key_file_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a key file"):
        unseal(raw, QUICK, "it")


def test_a_file_beyond_any_key_file_is_refused() -> None:
    with pytest.raises(TooLarge):
        unseal(b" " * (MAX_BYTES + 1), QUICK, "it")


def test_a_derivation_that_takes_for_ever_is_refused() -> None:
    document = Account.encrypt(KEY.to_bytes(), "p", kdf="pbkdf2", iterations=1)
    document["crypto"]["kdfparams"]["c"] = 10**12
    with pytest.raises(InvalidInput, match="no wallet uses"):
        unseal(json.dumps(document).encode(), QUICK, "it")


SEALED = seal(KEY, QUICK)


@given(place=st.integers(0, len(SEALED) - 1), byte=st.integers(0, 255))
def test_one_changed_byte_never_gives_another_key(place: int, byte: int) -> None:
    raw = SEALED[:place] + bytes([byte]) + SEALED[place + 1 :]
    try:
        key = unseal(raw, QUICK, "it")
    except FarlaneError:
        return
    assert key.address == KEY.address


def test_a_wrong_password_leaves_no_secret_in_the_traceback() -> None:
    wrong = Password(bytes(range(65, 97)))
    with pytest.raises(Unauthenticated) as raised:
        unseal(SEALED, wrong, "it")
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    shown = "".join(TracebackException.from_exception(raised.value, capture_locals=True).format())
    assert "password = Password(chosen)" in shown
    assert wrong.secret.decode() not in shown


def test_keys_are_made_listed_and_opened_by_name_and_address(ring: KeyRing) -> None:
    assert ring.list_keys() == []
    cold, hot = ring.create("cold", QUICK), ring.create("hot", QUICK)
    assert [(one.name, one.address, one.retired) for one in ring.list_keys()] == [
        ("cold", cold.address, False),
        ("hot", hot.address, False),
    ]
    assert ring.open("cold", QUICK).to_bytes() == cold.to_bytes()
    assert ring.open(hot.address, QUICK).to_bytes() == hot.to_bytes()
    assert ring.find(hot.address.lower()).name == "hot"


def test_files_and_directory_are_closed_to_others(ring: KeyRing) -> None:
    ring.create("cold", QUICK)
    assert ring.directory.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in ring.directory.iterdir()] == [0o600]


def test_a_key_that_others_can_read_is_refused(ring: KeyRing) -> None:
    ring.create("cold", QUICK)
    (ring.directory / "cold.json").chmod(0o640)
    with pytest.raises(PermissionRefused, match="chmod 600"):
        ring.open("cold", QUICK)
    assert "open to other users" in ring.list_keys()[0].problem


def test_a_directory_that_others_can_enter_is_refused(ring: KeyRing) -> None:
    ring.create("cold", QUICK)
    ring.directory.chmod(0o755)
    with pytest.raises(PermissionRefused):
        ring.create("hot", QUICK)


def test_a_link_in_the_place_of_a_key_is_refused(ring: KeyRing, tmp_path: Path) -> None:
    ring.create("cold", QUICK)
    (ring.directory / "cold.json").rename(tmp_path / "elsewhere")
    (ring.directory / "cold.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="not a regular file"):
        ring.open("cold", QUICK)
    with pytest.raises(Conflict):
        ring.create("cold", QUICK)


def test_nothing_is_ever_overwritten(ring: KeyRing, tmp_path: Path) -> None:
    ring.create("cold", QUICK)
    before = (ring.directory / "cold.json").read_bytes()
    with pytest.raises(Conflict, match="never overwritten"):
        ring.create("cold", QUICK)
    with pytest.raises(Conflict, match="never overwritten"):
        ring.add("cold", KEY, QUICK)
    (tmp_path / "there").write_text("a will")
    with pytest.raises(Conflict, match="never overwritten"):
        ring.export_file("cold", QUICK, tmp_path / "there", QUICK)
    assert (ring.directory / "cold.json").read_bytes() == before
    assert (tmp_path / "there").read_text() == "a will"


def test_a_damaged_file_is_listed_beside_the_good_ones(ring: KeyRing) -> None:
    ring.create("good", QUICK)
    (ring.directory / "bad.json").write_bytes(SEALED[:100])
    (ring.directory / "bad.json").chmod(0o600)
    (ring.directory / "README.txt").write_text("not a key")
    assert [(one.name, bool(one.problem)) for one in ring.list_keys()] == [("bad", True), ("good", False)]
    with pytest.raises(InvalidInput, match="its end is missing"):
        ring.open("bad", QUICK)


def test_a_file_without_address_must_be_imported(ring: KeyRing) -> None:
    ring.create("good", QUICK)
    document = json.loads((ring.directory / "good.json").read_bytes())
    del document["address"]
    (ring.directory / "good.json").write_text(json.dumps(document))
    with pytest.raises(Corrupted, match="does not say whose key"):
        ring.open("good", QUICK)


@pytest.mark.parametrize(
    "name", ["", "..", "../up", "a/b", "A", "0xcold", "a.b", "a" * 65, "a\n", "é", ".hidden"]
)
def test_names_that_are_none(ring: KeyRing, name: str) -> None:
    with pytest.raises(InvalidInput):
        ring.create(name, QUICK)
    with pytest.raises(InvalidInput):
        ring.find(name)
    assert not ring.directory.exists()


def test_an_unknown_key_names_the_nearest(ring: KeyRing) -> None:
    ring.create("treasury", QUICK)
    with pytest.raises(NotFound, match="did you mean 'treasury'"):
        ring.open("tresury", QUICK)
    with pytest.raises(NotFound, match="there is no key of"):
        ring.open(KEY.address, QUICK)


def test_a_short_password_makes_no_key(ring: KeyRing) -> None:
    with pytest.raises(InvalidInput, match="at least 8"):
        ring.create("cold", Password(b"1234567"))
    assert ring.list_keys() == []


def test_export_and_import_change_the_password_not_the_key(ring: KeyRing, tmp_path: Path) -> None:
    key, abroad = ring.create("cold", QUICK), Password(b"cd" * 32, random=True)
    assert ring.export_file("cold", QUICK, tmp_path / "moved.json", abroad) == key.address
    assert (tmp_path / "moved.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Unauthenticated):
        ring.import_file("copy", tmp_path / "moved.json", QUICK, QUICK)
    ring.import_file("copy", tmp_path / "moved.json", abroad, QUICK)
    assert ring.open("copy", QUICK).to_bytes() == key.to_bytes()
    (tmp_path / "moved.json").chmod(0o644)
    with pytest.raises(PermissionRefused):
        ring.import_file("again", tmp_path / "moved.json", abroad, QUICK)
    with pytest.raises(NotFound):
        ring.import_file("again", tmp_path / "missing.json", abroad, QUICK)
    with pytest.raises(NotFound, match="no directory"):
        ring.export_file("cold", QUICK, tmp_path / "no" / "moved.json", abroad)


def test_rotation_keeps_every_old_key(ring: KeyRing) -> None:
    first = ring.create("hot", QUICK)
    second, where_first = ring.rotate("hot", QUICK)
    third, where_second = ring.rotate("hot", QUICK)
    assert len({first.address, second.address, third.address}) == 3
    assert ring.open("hot", QUICK).address == third.address
    assert where_first.name.startswith("hot.retired-20")
    assert where_second.name != where_first.name
    assert ring.open(where_first.name, QUICK).to_bytes() == first.to_bytes()
    assert ring.open(second.address, QUICK).to_bytes() == second.to_bytes()
    assert [one.retired for one in ring.list_keys()] == [False, True, True]


def test_what_is_retired_is_not_rotated(ring: KeyRing) -> None:
    ring.create("hot", QUICK)
    _, retired = ring.rotate("hot", QUICK)
    with pytest.raises(InvalidInput):
        ring.rotate(retired.name, QUICK)
    with pytest.raises(NotFound):
        ring.rotate("cold", QUICK)


def test_a_rotation_that_dies_midway_loses_no_key(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ring.create("hot", QUICK)

    def killed(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("farlane.ledger.keystore.atomic_write", killed)
    with pytest.raises(KeyboardInterrupt):
        ring.rotate("hot", QUICK)
    assert ring.open("hot", QUICK).to_bytes() == key.to_bytes()
    assert {one.address for one in ring.list_keys()} == {key.address}


def test_two_rotations_at_once_are_not_both_done(ring: KeyRing) -> None:
    from farlane.kit.file_lock import FileLock

    ring.create("hot", QUICK)
    with FileLock(ring.directory / ".lock"), pytest.raises(Conflict, match="locked"):
        ring.rotate("hot", QUICK)
    assert len(ring.list_keys()) == 1


def test_of_many_makers_of_one_name_exactly_one_wins(ring: KeyRing) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from farlane.errors import Conflict\n"
        "from farlane.ledger.keystore import KeyRing\n"
        "from farlane.ledger.passwords import Password, machine_password\n"
        "ring = KeyRing(Path(sys.argv[1]))\n"
        "try: print(ring.create('hot', machine_password(ring.directory)).address)\n"
        "except Conflict: print('taken')\n"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", code, str(ring.directory)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = sorted(maker.communicate(timeout=60)[0].strip() for maker in makers)
    assert said[1:] == ["taken"] * 3
    assert ring.find("hot").address == said[0]
    assert sorted(os.listdir(ring.directory)) == ["hot.json", "password"]


def test_where_a_persons_keys_are() -> None:
    assert keys_directory({"FARLANE_KEYS": "/k"}) == Path("/k")
    assert keys_directory({"XDG_CONFIG_HOME": "/c"}) == Path("/c/farlane/keys")
    assert keys_directory({"XDG_CONFIG_HOME": "c"}) == Path.home() / ".config/farlane/keys"
    assert keys_directory({}) == Path.home() / ".config/farlane/keys"


def test_opening_a_key_leaves_the_recursion_limit_alone() -> None:
    """The library of key files lifts it; then a hostile JSON text of a chain or a record would end the process."""
    program = (
        "import sys; before = sys.getrecursionlimit()\n"
        "from farlane.ledger.accounts import PrivateKey; from farlane.ledger.keyfile import seal, unseal\n"
        "from farlane.ledger.passwords import Password; word = Password(b'x' * 32, random=True)\n"
        "unseal(seal(PrivateKey.generate(), word), word, 'mine')\n"
        "assert 'py_ecc' in sys.modules; assert sys.getrecursionlimit() == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
