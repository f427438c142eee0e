"""Test the contracts with forge; each command sets up what it needs in contracts/node_modules.

python scripts/contracts.py test               unit, fuzz and invariant tests; every action often enough
python scripts/contracts.py soak               the same, with many more runs
python scripts/contracts.py mutants [--share 1/3]   planted bugs the tests must find
python scripts/contracts.py slither | halmos   static analysis, symbolic execution (tools of .venv-contracts)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ACTIONS = CONTRACTS / "out/actions.txt"
LEAST = 100
"""How often every action of the invariant run must have succeeded."""
TOOLS = ROOT / ".venv-contracts/bin"


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
        (file.stem, mutant)
        for file in sorted((CONTRACTS / "mutants").glob("*.json"))
        for mutant in json.loads(file.read_text())
    ]
    chosen = [pair for number, pair in enumerate(planted) if number % parts == part % parts]
    survivors = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "contracts"
        shutil.copytree(
            CONTRACTS, place, ignore=shutil.ignore_patterns("node_modules", "out", "cache"), symlinks=True
        )
        (place / "node_modules").symlink_to(CONTRACTS / "node_modules")
        (place / "out").mkdir()
        if run_forge(["test", "--fail-fast"], "mutants", place, quiet=True):
            raise SystemExit("the tests fail without any mutant; run `python scripts/contracts.py test`")
        for contract, mutant in chosen:
            if survives(place, contract, mutant):
                survivors.append(mutant["name"])
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} planted bugs were found")
    for name in survivors:
        print(f"survived: {name}")
    return 1 if survivors else 0


def survives(place: Path, contract: str, mutant: dict[str, str]) -> bool:
    source = place / f"src/{contract}.sol"
    text = source.read_text()
    if text.count(mutant["old"]) != 1:
        raise SystemExit(
            f"mutant {mutant['name']!r}: its old text occurs {text.count(mutant['old'])} times, expected once"
        )
    source.write_text(text.replace(mutant["old"], mutant["new"]))
    try:
        if run_forge(["build", "--skip", "test"], "mutants", place, quiet=True):
            raise SystemExit(f"mutant {mutant['name']!r} does not compile")
        found = run_forge(["test", "--fail-fast"], "mutants", place, quiet=True) != 0
    finally:
        source.write_text(text)
    print(f"{'found' if found else 'SURVIVED'}: {contract}: {mutant['name']}", flush=True)
    return not found


def tool(name: str) -> str:
    found = TOOLS / name
    if not found.exists():
        raise SystemExit(f"{name} is missing: run `make slither`")
    return str(found)


def slither() -> int:
    """Fail on any finding of medium or high impact in our own contracts."""
    forge()
    command = [tool("slither"), ".", "--filter-paths", "node_modules|test", "--fail-medium", "--exclude-low",
               "--exclude-informational", "--exclude-optimization"]  # fmt: skip
    environment = os.environ | {"PATH": f"{Path(forge()).parent}:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=CONTRACTS, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("build", "test", "soak", "mutants", "slither"))
    parser.add_argument("--share", default="0/1", metavar="I/N", help="every N-th mutant, from the I-th on")
    options = parser.parse_args()
    if options.command == "mutants":
        return mutants(options.share)
    if options.command == "slither":
        return slither()
    if options.command == "build":
        return run_forge(["build", "--skip", "test"], "default")
    return test("default" if options.command == "test" else "soak")


if __name__ == "__main__":
    sys.exit(main())
