"""Where passwords come from, and the files that are refused."""

from __future__ import annotations

import getpass
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from farlane.errors import (
    Corrupted,
    FarlaneError,
    InvalidInput,
    NotFound,
    PermissionRefused,
    Unauthenticated,
)
from farlane.ledger.passwords import (
    CREDENTIAL,
    credential_password,
    file_password,
    find_password,
    machine_password,
    prompt_password,
)


@pytest.fixture
def kept(tmp_path: Path) -> Callable[..., Path]:
    """Write a file with a mode."""

    def write(content: bytes, mode: int = 0o600, name: str = "password") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return write


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n\n", b"secret\n"),
        (b" pass word \n", b" pass word "),
        ("pässword\n".encode(), "pässword".encode()),
    ],
)
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_one_newline_at_the_end_does_not_count(
    kept: Callable[..., Path], content: bytes, password: bytes, mode: int
) -> None:
    found = file_password(kept(content, mode))
    assert found.secret == password
    assert not found.random


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604])
def test_a_file_that_others_can_open_is_refused(kept: Callable[..., Path], mode: int) -> None:
    with pytest.raises(PermissionRefused, match="chmod 600"):
        file_password(kept(b"secret", mode))


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_password_is_none(kept: Callable[..., Path], content: bytes) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        file_password(kept(content))


def test_a_file_too_long_for_a_password_is_refused(kept: Callable[..., Path]) -> None:
    with pytest.raises(InvalidInput, match="too long"):
        file_password(kept(b"x" * 5000))


def test_no_file_a_directory_and_a_link(kept: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no password file"):
        file_password(tmp_path / "missing")
    with pytest.raises(InvalidInput, match="not a regular file"):
        file_password(tmp_path)
    (tmp_path / "link").symlink_to(kept(b"secret"))
    with pytest.raises(InvalidInput, match="not a regular file"):
        file_password(tmp_path / "link")


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600])
def test_systemds_credential_may_show_its_access_list_as_a_group(
    kept: Callable[..., Path], tmp_path: Path, mode: int
) -> None:
    kept(b"secret\n", mode, CREDENTIAL)
    assert credential_password(tmp_path).secret == b"secret"


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o602])
def test_a_credential_that_is_open_is_none_of_systemd(
    kept: Callable[..., Path], tmp_path: Path, mode: int
) -> None:
    kept(b"secret", mode, CREDENTIAL)
    with pytest.raises(PermissionRefused, match="no credential of systemd"):
        credential_password(tmp_path)


def test_a_credential_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="LoadCredential=other:FILE"):
        credential_password(tmp_path, "other")


def test_the_order_in_which_passwords_are_looked_for(kept: Callable[..., Path], tmp_path: Path) -> None:
    given, named = kept(b"given", name="given"), kept(b"named", name="named")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_password(None, environ) is None
    kept(b"systemd", 0o440, CREDENTIAL)

    def found(file: Path | None, environ: dict[str, str]) -> bytes | None:
        password = find_password(file, environ)
        return password and password.secret

    assert found(None, environ) == b"systemd"
    environ["FARLANE_KEY_PASSWORD_FILE"] = str(named)
    assert found(None, environ) == b"named"
    assert found(given, environ) == b"given"
    assert found(None, {}) is None


def test_a_password_that_is_named_but_missing_is_never_passed_over(
    kept: Callable[..., Path], tmp_path: Path
) -> None:
    kept(b"systemd", 0o440, CREDENTIAL)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "FARLANE_KEY_PASSWORD_FILE": str(tmp_path / "gone")}
    with pytest.raises(NotFound, match="gone"):
        find_password(None, environ)


def test_a_machines_password_is_made_once(tmp_path: Path) -> None:
    first = machine_password(tmp_path / "keys")
    assert first.random
    assert len(bytes.fromhex(first.secret.decode())) == 32
    assert machine_password(tmp_path / "keys").secret == first.secret
    assert machine_password(tmp_path / "other").secret != first.secret
    assert (tmp_path / "keys" / "password").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["password"]


@pytest.mark.parametrize(
    "content", [b"", b"hunter2", b"ab" * 31, b"zz" * 32, "é".encode() * 32, b"ab" * 32 + b"\n\n"]
)
def test_a_machines_password_that_somebody_wrote_is_refused(tmp_path: Path, content: bytes) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "password").write_bytes(content)
    (tmp_path / "password").chmod(0o600)
    with pytest.raises(Corrupted, match="expected 64 hex digits"):
        machine_password(tmp_path)


def test_a_machines_password_that_others_can_read_is_refused(tmp_path: Path) -> None:
    machine_password(tmp_path / "keys")
    (tmp_path / "keys" / "password").chmod(0o644)
    with pytest.raises(PermissionRefused):
        machine_password(tmp_path / "keys")


@pytest.mark.parametrize(
    ("typed", "error", "said"),
    [
        (["long enough", "long enouhg"], InvalidInput, "differ"),
        (["short"], InvalidInput, "5 characters"),
        ([""], InvalidInput, "0 characters"),
    ],
)
def test_a_new_password_that_is_mistyped_or_short_is_refused(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], error: type[FarlaneError], said: str
) -> None:
    answers = iter(typed)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
    with pytest.raises(error, match=said):
        prompt_password("key 'cold'", new=True)


ASK = (
    "from farlane.ledger.passwords import prompt_password; print(len(prompt_password('it', new=True).secret))"
)


def test_a_terminal_is_asked_twice_and_shows_nothing() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASK])
    seen = b""
    for prompt in (b"New password of it: ", b"The same again: "):
        while prompt not in seen:
            seen += os.read(terminal, 1024)
        os.write(terminal, b"tr0ub4dor&3\n")
    while b"11" not in seen:
        seen += os.read(terminal, 1024)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
    assert b"tr0ub4dor" not in seen


def test_without_a_terminal_nobody_is_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input="piped password\npiped password\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    assert done.returncode != 0
    assert Unauthenticated.__name__ in done.stderr
    assert "no terminal to ask on: pass --password-file" in done.stderr
    assert "piped" not in done.stderr + done.stdout
