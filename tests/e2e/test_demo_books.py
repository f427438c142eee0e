"""The end of the demo: its books are settled, one receipt is verified, the network audited, and earnings are shown."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from farlane.demo.settling import settle_and_audit
from farlane.sdk.context import read_client_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
TASKS = 12
PROGRAM = f"""
import farlane
app = farlane.App("books")
@app.function(cpu=1, memory="100MB", disk="1MB")
def work(number):
    return number
assert list(work.map(range({TASKS}))) == list(range({TASKS}))
"""


@pytest.fixture
def network(new_network: Callable[..., Any]) -> Any:
    """A network of two nodes that has done some work, dear enough to show in six digits, and settles when told."""
    found = new_network("--nodes", "2", "--set", "node.core_hour=1000", "--set", "hub.settle_s=3600")
    program = found.directory / "program.py"
    program.write_text(PROGRAM)
    subprocess.run([sys.executable, str(program)], env=found.environment, check=True, timeout=90)
    return found


def test_the_books_of_a_running_network_are_settled_and_audited(
    network: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settle_and_audit(network.directory, read_client_file(network.directory), frozenset(), Random(1))
    out = capsys.readouterr().out
    assert re.search(r"settled on .+, chain \d+, contract 0x[0-9a-fA-F]{40}\n", out)
    assert re.search(r"^    transaction 0x[0-9a-f]{64}$", out, re.MULTILINE)
    receipt = re.search(
        r"receipt of j1\.\d+, leaf \d+ of \d+, \d+ hashes of proof: .+ credits, all (\d+) checks", out
    )
    assert receipt
    assert int(receipt[1]) > 5
    assert f"audit: {TASKS} leaves of" in out
    assert "nothing deviates; 0 leaves of a dead node" in out
    rows = re.findall(r"^  (\S+) +(\d+) +(\d+) +([\d.]+) +([\d.]+)  0x[0-9a-fA-F]{40}$", out, re.MULTILINE)
    assert {name for name, *_ in rows} <= {"node-1", "node-2"}
    assert sum(int(leaves) for _, leaves, *_ in rows) == TASKS
    for name, leaves, signed, owed, paid in rows:
        assert (leaves, owed) == (signed, paid), name
        assert float(paid) > 0
