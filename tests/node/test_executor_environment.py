"""Requirements are resolved to a lock, and a lock is installed once, exactly as it says. Without any network."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import zipfile
from pathlib import Path

import pytest

from farlane.errors import InvalidInput, InvalidJob, Unavailable
from farlane.node.executors.environment import EnvironmentCache, lock_digest
from farlane.sdk.requirements import Lock, resolve


def make_wheel(directory: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Write a wheel with one module by hand, as no index is asked here."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_record_hash(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return wheel


def _record_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "wheels"
    directory.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    make_wheel(directory, "leaf", "1.0")
    make_wheel(directory, "leaf", "2.0")
    make_wheel(directory, "root_pkg", "3.1", ("leaf<2",))
    return directory


def test_a_lock_names_everything_by_version_and_hash(wheels: Path) -> None:
    lock = resolve(["root-pkg"])
    leaf, root = wheels / "leaf-1.0-py3-none-any.whl", wheels / "root_pkg-3.1-py3-none-any.whl"
    assert lock.lines == (
        f"leaf==1.0 --hash=sha256:{hashlib.sha256(leaf.read_bytes()).hexdigest()}",
        f"root-pkg==3.1 --hash=sha256:{hashlib.sha256(root.read_bytes()).hexdigest()}",
    )
    assert lock.digest == lock_digest(lock.lines)
    assert resolve(["root-pkg"]) == lock


def test_nothing_required_is_an_empty_lock() -> None:
    assert resolve([]) == Lock((), lock_digest([]))


@pytest.mark.parametrize(
    "line",
    ["", " ", "--find-links=x", " -e .", "./local", "a @ https://x/y.whl", "git+https://x", "a\nb", "C:\\x"],
)
def test_what_means_nothing_elsewhere_is_refused(line: str) -> None:
    with pytest.raises(InvalidJob, match="requires has"):
        resolve([line])


def test_what_cannot_be_met_is_told_with_pips_words(wheels: Path) -> None:
    with pytest.raises(InvalidJob, match="no-such-package"):
        resolve(["no-such-package"])
    with pytest.raises(InvalidJob, match="leaf"):
        resolve(["root-pkg", "leaf>=2"])


def test_an_interpreter_without_pip_is_told(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(Unavailable, match="ensurepip"):
        resolve(["leaf"], python=str(python))


def test_a_lock_is_installed_once(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = resolve(["root-pkg"])
    cache = EnvironmentCache(tmp_path / "cache")
    site = cache.prepare(lock.lines, lock.digest)
    assert (site / "leaf.py").read_text() == "VERSION = '1.0'\n"
    assert (site / "root_pkg.py").exists()
    monkeypatch.setenv("PIP_FIND_LINKS", os.devnull)  # now pip could not install it again
    assert EnvironmentCache(tmp_path / "cache").prepare(lock.lines, lock.digest) == site
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(
        [f".{lock.digest}.lock", site.name]
    )


def test_two_at_once_install_one(wheels: Path, tmp_path: Path) -> None:
    lock = resolve(["leaf"])
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(EnvironmentCache(tmp_path / "cache").prepare(lock.lines, lock.digest))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert (found[0] / "leaf.py").read_text() == "VERSION = '2.0'\n"


def test_other_bytes_under_the_same_name_are_refused(wheels: Path, tmp_path: Path) -> None:
    lock = resolve(["leaf"])
    (wheels / "leaf-2.0-py3-none-any.whl").write_bytes(
        (wheels / "leaf-1.0-py3-none-any.whl").read_bytes() + b"changed"
    )
    with pytest.raises(Unavailable, match=r"(?i)hash"):
        EnvironmentCache(tmp_path / "cache").prepare(lock.lines, lock.digest)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f".{lock.digest}.lock"]


@pytest.mark.parametrize(
    "line",
    [
        "leaf==1.0",
        "leaf --hash=sha256:" + "0" * 64,
        "--find-links=x",
        "leaf==1 --hash=sha256:" + "0" * 64 + " -e .",
    ],
)
def test_lines_with_anything_else_are_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not of the form"):
        EnvironmentCache(tmp_path).prepare([line], lock_digest([line]))


def test_nobody_can_fill_the_directory_of_another_lock(wheels: Path, tmp_path: Path) -> None:
    good, evil = resolve(["leaf==1.0"]), resolve(["leaf==2.0"])
    with pytest.raises(InvalidInput, match="resolve it again"):
        EnvironmentCache(tmp_path).prepare(evil.lines, good.digest)


def test_an_installation_that_takes_too_long_is_told(wheels: Path, tmp_path: Path) -> None:
    lock = resolve(["leaf"])
    with pytest.raises(Unavailable, match="within 0 s"):
        EnvironmentCache(tmp_path / "cache", timeout_s=0.01).prepare(lock.lines, lock.digest)
