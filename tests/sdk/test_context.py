"""Where the current network stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.errors import InvalidSetting, NotFound, PermissionRefused
from farlane.sdk.context import Endpoint, current_endpoint, data_directory, write_client_file

ENDPOINT = Endpoint("https://127.0.0.1:7717", "fl1.abc")


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    write_client_file(tmp_path / "net", ENDPOINT)
    environ = {"FARLANE_DIR": str(tmp_path / "net"), "FARLANE_URL": "https://x:1", "FARLANE_TOKEN": "fl1.x"}
    assert current_endpoint(environ) == Endpoint("https://x:1", "fl1.x")


def test_the_client_file_is_private_and_read_back(tmp_path: Path) -> None:
    path = write_client_file(tmp_path / "net", ENDPOINT)
    assert path.stat().st_mode & 0o777 == 0o600
    assert current_endpoint({"FARLANE_DIR": str(tmp_path / "net")}) == ENDPOINT
    assert "abc" not in repr(ENDPOINT)


def test_without_a_network_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(
        NotFound, match=r"no network here .*run `farlane up` or set FARLANE_URL and FARLANE_TOKEN"
    ):
        current_endpoint({"FARLANE_DIR": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("have", "lack"), [("FARLANE_URL", "FARLANE_TOKEN"), ("FARLANE_TOKEN", "FARLANE_URL")]
)
def test_half_an_environment_names_the_other_half(have: str, lack: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{have} is set but {lack} is not"):
        current_endpoint({have: "x"})


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"url": 1, "token": "x"}', b'{"url": "x"}', b"[" * 100_000]
)
def test_a_broken_client_file_says_what_was_expected(tmp_path: Path, content: bytes) -> None:
    path = write_client_file(tmp_path / "net", ENDPOINT)
    path.write_bytes(content)
    with pytest.raises(InvalidSetting, match=r'expected \{"url": "https://host:port", "token": "fl1..."\}'):
        current_endpoint({"FARLANE_DIR": str(tmp_path / "net")})


def test_a_client_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = write_client_file(tmp_path / "net", ENDPOINT)
    path.chmod(0o644)
    with pytest.raises(PermissionRefused, match="chmod 600"):
        current_endpoint({"FARLANE_DIR": str(tmp_path / "net")})


def test_the_data_directory_is_the_users_own_by_default() -> None:
    assert data_directory({}) == Path.home() / ".farlane"
    assert data_directory({"FARLANE_DIR": "~/net"}) == Path.home() / "net"
