"""Compiled code is made anew when anything that it was made from changes, and not else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from farlane.kit import source_digest
from farlane.kit.source_digest import digest

FILES = {
    "top.py": "from pack.inner.middle import half\n",
    "inner/middle.py": "import os\nfrom pack.inner import deep\nimport pack.absent\n",
    "inner/deep.py": "import pack.inner.middle\nCONSTANT = 1\n",
    "inner/aside.py": "OTHER = 1\n",
}
"""`top` reads `deep` by way of `middle`, in a circle; nobody reads `aside`."""


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pack" / "top.py"


def found(top: Path) -> str:
    source_digest._read.cache_clear()
    source_digest._imported.cache_clear()
    return digest(top, top.parents[1], "pack")


@pytest.mark.parametrize(
    ("changed", "anew"), [("top.py", True), ("inner/deep.py", True), ("inner/aside.py", False)]
)
def test_what_is_read_by_way_of_others_counts(top: Path, changed: str, anew: bool) -> None:
    before = found(top)
    assert found(top) == before
    path = top.parent / changed
    path.write_text(path.read_text() + "MORE = 2\n")
    assert (found(top) != before) == anew


PROGRAM = """
import sys
from farlane.kit import source_digest
source_digest.digest.__defaults__ = (__import__("pathlib").Path(sys.argv[1]), "pack")
sys.path.insert(0, sys.argv[1])
from pack.top import twice
print(twice(1), sum(twice.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_a_changed_constant_of_another_file_is_in_force_at_the_next_start(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="numba is missing: `pip install numba`")
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "__init__.py").write_text("")
    (pack / "top.py").write_text(
        "from farlane.scheduler.sim.compiled import compiled\nfrom pack.deep import STEP\n\n\n"
        "@compiled\ndef twice(value):\n    return 2 * value + STEP\n"
    )

    def run(step: int) -> str:
        (pack / "deep.py").write_text(f"STEP = {step}\n")
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(tmp_path / "kept"),
            "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_DISABLE_JIT": "0",
        }  # fmt: skip
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=110, check=True
        ).stdout.strip()

    assert [run(5), run(5), run(7), run(7)] == ["7 0", "7 1", "9 0", "9 1"]
