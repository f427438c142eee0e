"""Make the messages, gRPC classes and type stubs of farlane's protocol, and of standard ones beside their .proto file.

    python scripts/generate_proto.py           write the modules
    python scripts/generate_proto.py --check   compare with what is checked in, write nothing

The protobuf package is `farlane.v1`, the Python package `farlane.wire.v1`; protoc knows one name for both,
so the imports it writes are renamed afterwards.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = Path("farlane/v1")
MODULES = Path("src/farlane/wire/v1")
STANDARDS = (Path("farlane/hub/gateway/oip"),)
"""Packages below src with the .proto file of a protocol that is not ours."""
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
RENAMES = (
    (re.compile(r"^(from|import) farlane\.v1\b", re.MULTILINE), r"\1 farlane.wire.v1"),
    (re.compile(r"(BuildTopDescriptorsAndMessages\(DESCRIPTOR, ')farlane\.v1\."), r"\1farlane.wire.v1."),
)


def generate(protos: Path, folder: Path, into: Path) -> dict[str, str]:
    """Run protoc over `protos`/`folder`/*.proto and return each module's text by its file name."""
    sources = sorted(path.relative_to(protos).as_posix() for path in (protos / folder).glob("*.proto"))
    if not sources:
        raise SystemExit(f"no .proto file in {protos / folder}")
    scripts = Path(sysconfig.get_path("scripts"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}"]
    command += [f"--plugin={name}={scripts / name}" for name in PLUGINS]
    command += [f"--{kind}_out={into}" for kind in ("python", "grpc_python")]
    command += [f"--{kind}_out=quiet:{into}" for kind in ("mypy", "mypy_grpc")]
    finished = subprocess.run([*command, *sources], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"protoc failed:\n{finished.stdout}{finished.stderr}")
    return {path.name: rename(path.read_text()) for path in sorted((into / folder).iterdir())}


def rename(text: str) -> str:
    """Turn the names that follow from the .proto files' folder into those of the Python package."""
    for pattern, replacement in RENAMES:
        text = pattern.sub(replacement, text)
    return text


def checked_in(modules: Path) -> dict[str, str]:
    """Return the generated modules found in `modules` by file name."""
    return {path.name: path.read_text() for path in modules.glob("*") if path.name.endswith(SUFFIXES)}


def main(argv: list[str] | None = None) -> int:
    """Write or compare; 1 when the comparison finds a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if something differs")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to read and write")
    arguments = parser.parse_args(argv)
    packages = [(arguments.root / "proto", PROTOS, arguments.root / MODULES)]
    packages += [
        (arguments.root / "src", folder, arguments.root / "src" / folder)
        for folder in STANDARDS
        if (arguments.root / "src" / folder).is_dir()
    ]
    stale: list[str] = []
    for protos, folder, modules in packages:
        with tempfile.TemporaryDirectory() as scratch:
            wanted = generate(protos, folder, Path(scratch))
        stale += update(modules, wanted, write=not arguments.check)
        if not arguments.check:
            print(f"{len(wanted)} modules in {modules.relative_to(arguments.root)}")
    if stale and arguments.check:
        print(f"generated code is not up to date: {', '.join(stale)}; run `make proto`", file=sys.stderr)
    return 1 if stale and arguments.check else 0


def update(modules: Path, wanted: dict[str, str], *, write: bool) -> list[str]:
    """Return the names of modules that are not as wanted, once they are, if they may be written."""
    found = checked_in(modules)
    stale = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if write:
        modules.mkdir(parents=True, exist_ok=True)
        for name in stale:
            if name in wanted:
                (modules / name).write_text(wanted[name])
            else:
                (modules / name).unlink()
    return stale


if __name__ == "__main__":
    sys.exit(main())
