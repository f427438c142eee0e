"""Test the contracts with forge; each command sets up what it needs in contracts/node_modules.

python scripts/contracts.py test               unit, fuzz and invariant tests; every action often enough
python scripts/contracts.py soak               the same, with many more runs
python scripts/contracts.py mutants [--share 1/3]   planted bugs the tests must find
python scripts/contracts.py slither            static analysis (from .venv-contracts)
python scripts/contracts.py halmos [--planted] proofs for every input; or bugs that the proofs must find
python scripts/contracts.py gas [--check]      write contracts/snapshots/gas.json anew, or compare with it
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
MUTANTS = CONTRACTS / "mutants"
"""One file of planted bugs for each source, in the folders of `contracts/src`."""
ACTIONS = CONTRACTS / "out/actions.txt"
LEAST = 100
"""How often every action of the invariant run must have succeeded."""
TOOLS = ROOT / ".venv-contracts/bin"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def forge() -> str:
    """Return forge's path, installing contracts/node_modules where it is missing."""
    if not (CONTRACTS / "node_modules").is_dir():
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("the contracts' tools need npm (Node.js 20): install Node.js, then repeat this")
        subprocess.run(
            [npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=CONTRACTS, check=True
        )
    found = sorted(CONTRACTS.glob("node_modules/@foundry-rs/forge-*/bin/forge"))
    binary = str(found[0]) if found else shutil.which("forge")
    if binary is None:
        raise SystemExit(
            "npm has no forge for this machine: install foundry another way, so that `forge` is on the PATH"
        )
    return binary


def run_forge(arguments: list[str], profile: str, cwd: Path = CONTRACTS, *, quiet: bool = False) -> int:
    environment = os.environ | {"FOUNDRY_PROFILE": profile}
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(
        [forge(), *arguments], cwd=cwd, env=environment, stdout=output, stderr=output, check=False
    ).returncode


def test(profile: str) -> int:
    """Run all tests, then look whether the invariant run did what it is for."""
    ACTIONS.unlink(missing_ok=True)
    code = run_forge(["test"], profile)
    if code:
        return code
    counts: Counter[str] = Counter()
    for line in ACTIONS.read_text().splitlines():
        action, count = line.split()
        counts[action] += int(count)
    rare = {action: count for action, count in counts.items() if count < LEAST}
    if rare or not counts:
        print(f"the invariant run proves little: these actions succeeded fewer than {LEAST} times: {rare}")
        return 1
    print(
        f"every action of the invariant run succeeded at least {min(counts.values())} times: {dict(counts)}"
    )
    return 0


def mutants(share: str) -> int:
    """Plant one bug after the other; those the tests do not find are survivors."""
    part, parts = map(int, share.split("/"))
    planted = [
        (str(file.relative_to(MUTANTS).with_suffix("")), mutant)
        for file in sorted(MUTANTS.rglob("*.json"))
        for mutant in json.loads(file.read_text())
    ]
    chosen = [pair for number, pair in enumerate(planted) if number % parts == part % parts]
    survivors = []
    with copy_of_contracts() as place:
        if run_forge(["test", "--fail-fast"], "mutants", place, quiet=True):
            raise SystemExit("the tests fail without any mutant; run `python scripts/contracts.py test`")
        for contract, mutant in chosen:
            if survives(place, contract, mutant):
                survivors.append(mutant["name"])
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} planted bugs were found")
    for name in survivors:
        print(f"survived: {name}")
    return 1 if survivors else 0


@contextlib.contextmanager
def copy_of_contracts() -> Iterator[Path]:
    """Lend a copy of contracts/ in which bugs can be planted."""
    forge()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "contracts"
        left_out = shutil.ignore_patterns("node_modules", "out", "cache")
        shutil.copytree(CONTRACTS, place, ignore=left_out, symlinks=True)
        (place / "node_modules").symlink_to(CONTRACTS / "node_modules")
        (place / "out").mkdir()
        yield place


@contextlib.contextmanager
def bug(place: Path, contract: str, mutant: dict[str, str]) -> Iterator[None]:
    """Plant a bug for a while."""
    source = place / f"src/{contract}.sol"
    text = source.read_text()
    if text.count(mutant["old"]) != 1:
        raise SystemExit(
            f"mutant {mutant['name']!r}: its old text occurs {text.count(mutant['old'])} times, expected once"
        )
    source.write_text(text.replace(mutant["old"], mutant["new"]))
    try:
        yield
    finally:
        source.write_text(text)


def survives(place: Path, contract: str, mutant: dict[str, str]) -> bool:
    with bug(place, contract, mutant):
        if run_forge(["build", "--skip", "test"], "mutants", place, quiet=True):
            raise SystemExit(f"mutant {mutant['name']!r} does not compile")
        found = run_forge(["test", "--fail-fast"], "mutants", place, quiet=True) != 0
    print(f"{'found' if found else 'SURVIVED'}: {contract}: {mutant['name']}", flush=True)
    return not found


def tool(name: str) -> str:
    found = TOOLS / name
    if not found.exists():
        raise SystemExit(f"{name} is missing: run `make {name}`, which installs it into .venv-contracts")
    return str(found)


def prove(place: Path, profile: str, contract: str) -> int:
    """Run the proofs whose contract's name matches; 0 where all hold, 1 where one finds an input that breaks it."""
    command = [tool("halmos"), "--root", ".", "--forge-build-out", "out/symbolic", "--match-contract", contract,
               "--solver", "z3", "--solver-timeout-assertion", "180s", "--no-status"]  # fmt: skip
    environment = os.environ | {
        "FOUNDRY_PROFILE": profile,
        "PATH": f"{Path(forge()).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    lines = COLOUR.sub("", done.stdout).splitlines()
    counts = [line for line in lines if line.startswith("Symbolic test result:")]
    if not counts or "ERROR" in done.stdout or "TIMEOUT" in done.stdout:
        raise SystemExit(f"halmos came to no result:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    if profile == "symbolic":
        print("\n".join(line for line in lines if "check_" in line or line in counts))
    return 0 if done.returncode == 0 else 1


def halmos(planted: bool, share: str) -> int:
    """Prove the contracts as they ship; or plant one bug after the other that the proofs must find."""
    if not planted:
        return prove(CONTRACTS, "symbolic", "Symbolic")
    part, parts = map(int, share.split("/"))
    mutants = json.loads((MUTANTS / "ComputeLedger.json").read_text())
    chosen = [mutant for mutant in mutants if "proof" in mutant][part % parts :: parts]
    missed = []
    with copy_of_contracts() as place:
        if prove(place, "symbolic-mutants", "Symbolic"):
            raise SystemExit("the proofs fail without any bug; run `python scripts/contracts.py halmos`")
        for mutant in chosen:
            with bug(place, "ComputeLedger", mutant):
                found = prove(place, "symbolic-mutants", mutant["proof"]) != 0
            print(f"{'found' if found else 'MISSED'}: {mutant['proof']}: {mutant['name']}", flush=True)
            missed += [] if found else [mutant["name"]]
    print(f"the proofs found {len(chosen) - len(missed)} of {len(chosen)} planted bugs")
    return 1 if missed else 0


def slither() -> int:
    """Fail on any finding of medium or high impact in our own contracts."""
    forge()
    command = [tool("slither"), ".", "--filter-paths", "node_modules|test", "--fail-medium", "--exclude-low",
               "--exclude-informational", "--exclude-optimization"]  # fmt: skip
    environment = os.environ | {"PATH": f"{Path(forge()).parent}:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=CONTRACTS, env=environment, check=False).returncode


def gas(check: bool) -> int:
    """Measure every kind of transaction and write the snapshot, or compare with the one that is kept, to the unit."""
    environment = os.environ | {"FOUNDRY_PROFILE": "gas"}
    if check:
        environment["FORGE_SNAPSHOT_CHECK"] = "true"
    command = [forge(), "test", "--match-contract", "GasTest"]
    return subprocess.run(command, cwd=CONTRACTS, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("build", "test", "soak", "mutants", "slither", "halmos", "gas"))
    parser.add_argument("--planted", action="store_true", help="halmos: plant bugs that the proofs must find")
    parser.add_argument("--check", action="store_true", help="gas: compare with the snapshot, write nothing")
    parser.add_argument("--share", default="0/1", metavar="I/N", help="every N-th mutant, from the I-th on")
    options = parser.parse_args()
    if options.command == "mutants":
        return mutants(options.share)
    if options.command == "slither":
        return slither()
    if options.command == "halmos":
        return halmos(options.planted, options.share)
    if options.command == "gas":
        return gas(options.check)
    if options.command == "build":
        return run_forge(["build", "--skip", "test"], "default")
    return test("default" if options.command == "test" else "soak")


if __name__ == "__main__":
    sys.exit(main())
