"""Compile contracts/src into the artifacts that ship in the wheel, with solc's JavaScript build and no node.

    python scripts/build_contracts.py           write src/farlane/ledger/artifacts
    python scripts/build_contracts.py --check   compile again and compare byte for byte, write nothing

The compiler comes from the npm package in contracts/node_modules (`npm ci` in contracts/); without it, what can be
checked is that the sources are those the artifacts were made from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ARTIFACTS = ROOT / "src/farlane/ledger/artifacts"
INPUT = "compiler-input.json"
SOLJSON = CONTRACTS / "node_modules/solc/soljson.js"
SOLJSON_SHA256 = "221d7a667378b5068d913e75fe092507e061363cd1d23b64c49ae82febabad4c"
SOLC = "0.8.37"
TRANSIENT_STORAGE = "2394"
"""Solc's warning that transient storage outlives a call; the reentrancy guard clears its own."""
NAMES = ("ComputeLedger", "CreditToken", "ModelRegistry", "NetworkRegistry", "ReceiptVerifier")
IMPORT = re.compile(r'^import\s[^"]*"([^"]+)";', re.MULTILINE)
SETTINGS: dict[str, Any] = {
    "evmVersion": "cancun",
    "metadata": {"bytecodeHash": "ipfs"},
    "optimizer": {"enabled": True, "runs": 20000},
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object",
                                    "evm.deployedBytecode.immutableReferences"]}},
    "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
    "viaIR": True,
}  # fmt: skip


def compiler_input() -> str:
    """Return solc's standard input: every source our contracts reach, with its text."""
    sources: dict[str, dict[str, str]] = {}
    wanted = [f"src/{name}.sol" for name in NAMES]
    while wanted:
        name = wanted.pop()
        if name in sources:
            continue
        text = (CONTRACTS / name).read_text()
        sources[name] = {"content": text}
        wanted += [resolve(name, found) for found in IMPORT.findall(text)]
    return dumps({"language": "Solidity", "settings": SETTINGS, "sources": sources})


def resolve(importer: str, target: str) -> str:
    """Return the source an import means."""
    if target.startswith("@openzeppelin/"):
        return f"node_modules/{target}"
    return os.path.normpath(f"{os.path.dirname(importer)}/{target}")


def compile_sources(text: str) -> dict[str, str]:
    """Run the compiler and return each artifact's text by its file name."""
    from py_mini_racer import MiniRacer

    code = SOLJSON.read_bytes()
    digest = hashlib.sha256(code).hexdigest()
    if digest != SOLJSON_SHA256:
        raise SystemExit(
            f"{SOLJSON} has SHA-256 {digest}; expected {SOLJSON_SHA256}: run `npm ci` in contracts/"
        )
    engine = MiniRacer()
    engine.eval("var Module = {print: function () {}, printErr: function () {}};")
    engine.eval(code.decode())
    engine.eval("var compile = Module.cwrap('solidity_compile', 'string', ['string', 'number', 'number']);")
    output = json.loads(engine.call("compile", text, 0, 0))
    problems = [
        error["formattedMessage"]
        for error in output.get("errors", ())
        if error.get("errorCode") != TRANSIENT_STORAGE
    ]
    if problems:
        raise SystemExit("\n".join(problems))
    return {f"{name}.json": artifact(name, output) for name in NAMES}


def artifact(name: str, output: dict[str, Any]) -> str:
    """Return one contract's artifact."""
    found = output["contracts"][f"src/{name}.sol"][name]
    deployed = found["evm"]["deployedBytecode"]
    spans = sorted(
        [span["start"], span["length"]]
        for spans in deployed["immutableReferences"].values()
        for span in spans
    )
    return dumps(
        {
            "abi": found["abi"],
            "bytecode": "0x" + found["evm"]["bytecode"]["object"],
            "compiler": SOLC,
            "contractName": name,
            "deployedBytecode": "0x" + deployed["object"],
            "immutableReferences": spans,
        }
    )


def dumps(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def check() -> int:
    """Compare sources and, where the compiler is there, what it makes of them."""
    kept = (ARTIFACTS / INPUT).read_text()
    if not SOLJSON.exists():
        return check_without_compiler(json.loads(kept))
    if compiler_input() != kept:
        print(
            f"{INPUT} is not made from contracts/src: run `python scripts/build_contracts.py`",
            file=sys.stderr,
        )
        return 1
    stale = [name for name, text in compile_sources(kept).items() if text != (ARTIFACTS / name).read_text()]
    for name in stale:
        print(
            f"{name} is not what solc makes of the sources: run `python scripts/build_contracts.py`",
            file=sys.stderr,
        )
    return 1 if stale else 0


def check_without_compiler(kept: dict[str, Any]) -> int:
    missing = "contracts/node_modules is missing: run `npm ci` in contracts/ (needs Node.js 20)"
    if os.environ.get("CI") == "true":
        print(f"the contracts cannot be compiled: {missing}", file=sys.stderr)
        return 1
    own = {name: found["content"] for name, found in kept["sources"].items() if name.startswith("src/")}
    stale = [name for name, text in own.items() if (CONTRACTS / name).read_text() != text]
    for name in stale:
        print(f"{name} has changed since the artifacts were made; to make them, {missing}", file=sys.stderr)
    print(f"skipped: compiling the contracts again; {missing}")
    return 1 if stale else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        return check()
    text = compiler_input()
    made = {INPUT: text} | compile_sources(text)
    ARTIFACTS.mkdir(exist_ok=True)
    for name, content in made.items():
        (ARTIFACTS / name).write_text(content)
    print(f"{len(made)} files in {ARTIFACTS.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
