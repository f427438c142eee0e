"""The contracts' own tests, run by forge: unit, fuzz, invariants, and a rotating share of the planted bugs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/contracts.py"
SHARES = 15
PROOF_SHARES = 6
"""Another share of the planted bugs every day, until so many days have planted all; `make soak` plants all at once."""

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(autouse=True)
def toolchain() -> None:
    if os.environ.get("CI") != "true" and not (ROOT / "contracts/node_modules").is_dir():
        pytest.skip("forge is missing; to get it run `npm ci` in contracts/ (needs Node.js 20)")


@pytest.fixture
def analysers() -> None:
    if os.environ.get("CI") != "true" and not (ROOT / ".venv-contracts/.installed").exists():
        pytest.skip("slither and halmos are missing; to get them run `make slither`")


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_unit_fuzz_and_invariant_tests_pass() -> None:
    assert "every action of the invariant run succeeded at least" in run("test")


def test_a_share_of_the_planted_bugs_is_found() -> None:
    output = run("mutants", "--share", f"{int(time.time() // 86400) % SHARES}/{SHARES}")
    assert "planted bugs were found" in output


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_all_planted_bugs_are_found() -> None:
    run("mutants")


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.usefixtures("analysers")
def test_the_proofs_find_all_planted_bugs() -> None:
    assert "MISSED" not in run("halmos", "--planted")


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_many_more_runs_pass() -> None:
    run("soak")


def test_gas_is_what_the_snapshot_says() -> None:
    run("gas", "--check")
    kept = json.loads((ROOT / "contracts/snapshots/gas.json").read_text())
    assert int(kept["settle"]) <= 46_000
    assert int(kept["settleMany of 100"]) <= 100 * 19_000
    accepted = int(kept["openJob"]) + int(kept["acceptResult, by the payer's signature"])
    assert accepted <= 132_000
    disputed = sum(int(kept[step]) for step in ("openJob", "submitResult", "dispute", "resolve"))
    assert disputed <= 205_000


@pytest.mark.usefixtures("analysers")
def test_slither_finds_nothing_of_medium_or_high_impact() -> None:
    run("slither")


@pytest.mark.usefixtures("analysers")
def test_settle_close_and_resolve_are_proven_for_every_input() -> None:
    output = run("halmos")
    assert "[FAIL]" not in output
    for proof in (
        "settle_pays_exactly",
        "finishClose_refunds",
        "closeByProvider_refunds",
        "resolve_pays_exactly",
    ):
        assert f"[PASS] check_{proof}" in output


@pytest.mark.usefixtures("analysers")
def test_the_proofs_find_planted_bugs() -> None:
    output = run(
        "halmos", "--planted", "--share", f"{int(time.time() // 86400) % PROOF_SHARES}/{PROOF_SHARES}"
    )
    assert "planted bugs" in output
    assert "MISSED" not in output


def test_every_planted_bug_fits_the_source() -> None:
    mutants, sources = ROOT / "contracts/mutants", ROOT / "contracts/src"
    files = {file.relative_to(mutants).with_suffix(""): file for file in mutants.rglob("*.json")}
    code = {file.relative_to(sources).with_suffix("") for file in sources.rglob("*.sol")}
    assert files.keys() == {name for name in code if name.parts[0] != "interfaces"}
    for name, file in files.items():
        source = (sources / name.with_suffix(".sol")).read_text()
        for mutant in json.loads(file.read_text()):
            assert source.count(mutant["old"]) == 1, mutant["name"]
            assert mutant["old"] != mutant["new"], mutant["name"]


def test_artifacts_are_what_the_compiler_makes() -> None:
    script = ROOT / "scripts/build_contracts.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_forge_makes_the_same_bytes() -> None:
    """Two ways to one bytecode: forge with node's solc, and the compiler without node that made the artifacts."""
    run("build")
    for file in (ROOT / "src/farlane/ledger/artifacts").glob("*[a-z].json"):
        artifact = json.loads(file.read_text())
        if "contractName" not in artifact:
            continue
        name = artifact["contractName"]
        built = json.loads((ROOT / f"contracts/out/{name}.sol/{name}.json").read_text())
        assert artifact["bytecode"] == built["bytecode"]["object"], name
