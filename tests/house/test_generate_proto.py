"""scripts/generate_proto.py on a small protocol: it writes, compares and notices what is stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROTO = """syntax = "proto3";
package farlane.v1;
import "farlane/v1/colour.proto";
message Ask { Colour colour = 1; }
service Painter { rpc Paint(Ask) returns (Ask); }
"""
COLOUR = 'syntax = "proto3";\npackage farlane.v1;\nmessage Colour { string name = 1; }\n'


def run(root: Path, checkout: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = root / "scripts/generate_proto.py"
    command = [sys.executable, str(script), "--root", str(checkout), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_write_compare_and_notice(root: Path, tmp_path: Path) -> None:
    protos, modules = tmp_path / "proto/farlane/v1", tmp_path / "src/farlane/wire/v1"
    protos.mkdir(parents=True)
    (protos / "painter.proto").write_text(PROTO)
    (protos / "colour.proto").write_text(COLOUR)

    assert run(root, tmp_path, "--check").returncode == 1
    assert not modules.exists()

    written = run(root, tmp_path)
    assert written.returncode == 0, written.stderr
    assert "from farlane.wire.v1 import colour_pb2" in (modules / "painter_pb2.py").read_text()
    assert "from farlane.wire.v1 import painter_pb2" in (modules / "painter_pb2_grpc.py").read_text()
    assert "'/farlane.v1.Painter/Paint'" in (modules / "painter_pb2_grpc.py").read_text()
    assert run(root, tmp_path, "--check").returncode == 0

    (protos / "colour.proto").write_text(COLOUR.replace("name", "shade"))
    stale = run(root, tmp_path, "--check")
    assert stale.returncode == 1
    assert "colour_pb2.py" in stale.stderr
    assert "make proto" in stale.stderr


def test_a_broken_protocol_is_refused_with_protocs_words(root: Path, tmp_path: Path) -> None:
    protos = tmp_path / "proto/farlane/v1"
    protos.mkdir(parents=True)
    (protos / "broken.proto").write_text('syntax = "proto3";\nmessage {')
    refused = run(root, tmp_path)
    assert refused.returncode == 1
    assert "broken.proto" in refused.stderr


def test_the_checked_in_modules_are_up_to_date(root: Path) -> None:
    checked = run(root, root, "--check")
    assert checked.returncode == 0, checked.stderr
