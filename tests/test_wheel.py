"""The wheel: it holds everything that the source tree does, and what it holds deploys the contracts by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ROOT = Path(__file__).resolve().parents[1]
DEPLOYER = """
import asyncio, sys
from pathlib import Path
import farlane
from farlane.kit.clock import SystemClock
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import DeploymentPlan, deploy, verify_deployment
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.rpc import RpcClient

async def main():
    key = PrivateKey.generate()
    genesis = {key.address: 10**24}
    with EmbeddedChain.open(Path("chain.sqlite"), chain_id=99001, genesis=genesis, clock=SystemClock()) as chain:
        rpc = RpcClient(chain.transport())
        await verify_deployment(rpc, await deploy(rpc, key, DeploymentPlan("ab" * 16, key.address)))
    print(farlane.__file__)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the tree, without asking any registry."""
    place = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", place / "tree/src", ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, place / "tree")
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-build-isolation", "--no-deps", "--quiet",
               "--wheel-dir", str(place), str(place / "tree")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = place.glob("*.whl")
    return made


def test_the_wheel_holds_every_file_of_the_source_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
    for needed in (
        "farlane/py.typed",
        "farlane/ledger/artifacts/ComputeLedger.json",
        "farlane/ledger/artifacts/ReceiptVerifier.json",
        "farlane/wire/v1/ledger_pb2.py",
        "farlane/wire/v1/ledger_pb2.pyi",
        "farlane/demo/passages.txt",
    ):
        assert needed in held
    tree = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src/farlane").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tree - held == set()
    assert {name for name in held if not name.startswith("farlane-")} == tree


def test_contracts_are_deployed_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(unpacked)
    (entry,) = unpacked.glob("farlane-*.dist-info/entry_points.txt")
    assert "farlane = farlane.cli.main:main" in entry.read_text()
    done = subprocess.run(
        [sys.executable, "-c", DEPLOYER], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(unpacked)
