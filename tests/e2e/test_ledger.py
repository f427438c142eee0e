"""The ledger as a user meets it: work is booked, signed and settled, whatever dies, and an audit finds nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
PROGRAM = """
import farlane, sys
app = farlane.App("books")
@app.function(cpu=1, memory="100MB", disk="1MB", project="apples", retries=1)
def work(number):
    if number % 50 == 7:
        raise ValueError("seven")
    return number
print(sum(1 for one in work.map(range(int(sys.argv[1])), return_exceptions=True)))
"""


@pytest.fixture
def network(new_network: Callable[..., Any]) -> Iterator[Any]:
    """A network of the test's own: what jobs and books are called starts over."""
    found = new_network("--nodes", "2")
    yield found
    found.stop()


def told(network: Any, *arguments: str) -> Any:
    return network.cli(*arguments, "--json").json


def run(network: Any, program: Path, count: int) -> str:
    done = subprocess.run(
        [sys.executable, str(program), str(count)], env=network.environment, capture_output=True, text=True,
        timeout=100, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def signed(network: Any) -> bool:
    rows = told(network, "ledger", "channels", "--all")
    return bool(rows) and all(row["tasks"] == row["promised_tasks"] for row in rows)


def audited(network: Any) -> dict[str, Any]:
    """Audit the network against its chain; the exit code says whether anything deviates."""
    rpc = told(network, "ledger", "balance")["rpc"]
    file = str(network.directory / "hub" / "ledger.json")
    found: dict[str, Any] = told(network, "ledger", "audit", "--rpc", rpc, "--network", file)
    return found


def test_work_is_booked_signed_settled_and_audited(
    network: Any, eventually: Callable[..., None], tmp_path: Path
) -> None:
    network.cli("run", "-y", "--project", "pears", "--", "echo", "hello")
    network.cli("run", "-y", "--", "false", code=1)
    eventually(lambda: signed(network), 30)
    settled = told(network, "ledger", "settle")
    assert settled
    assert told(network, "ledger", "settle") == []
    status = told(network, "ledger", "balance")
    assert status["embedded"]
    assert status["claimed"] == status["promised"] == status["owed"] > 0
    receipt = tmp_path / "receipt.json"
    network.cli("receipt", "get", "j1.0", "--rpc", status["rpc"], "-o", str(receipt))
    checked = network.cli("receipt", "verify", str(receipt), "--rpc", status["rpc"], "--json").json
    assert checked["valid"]
    assert not any(one["message"] for one in checked["checks"]), "its own tree is settled"
    receipt.write_text(receipt.read_text().replace('"cumulative": "', '"cumulative": "1'))
    assert "NOT VALID" in network.cli("receipt", "verify", str(receipt), code=1).out
    usage = {row["project"]: row for row in told(network, "usage", "--by", "project")}
    assert usage["pears"]["tasks"] == 1
    assert audited(network)["clean"]


def test_failures_say_who_is_to_blame_and_who_pays(network: Any) -> None:
    network.cli("run", "-y", "--", "false", code=1)
    (task,) = told(network, "ps", "j1")["tasks"]
    assert (task["kind"], task["blame"], task["paid"]) == ("exit-code", "publisher, paid", True)
    assert "blame: publisher, paid" in network.cli("why", "j1").err


def test_a_budget_stops_work_and_raising_it_lets_it_go_on(
    network: Any, eventually: Callable[..., None]
) -> None:
    network.cli("budget", "set", "--project", "apples", "--month", "0.000001")
    network.cli("run", "-y", "-d", "--project", "apples", "--max-duration", "10s", "--", "true")
    eventually(lambda: "project apples" in network.cli("why", "j1").out, 10)
    network.cli("run", "-y", "--project", "pears", "--", "true")  # nobody else is held up
    network.cli("budget", "set", "--project", "apples", "--month", "1")
    network.cli("wait", "j1", "--timeout", "30s")
    (cap,) = told(network, "budget", "ls")
    assert cap["spent"] + cap["reserved"] <= cap["cap"]["monthly_nano"]


def test_books_survive_the_death_of_everything(
    network: Any, eventually: Callable[..., None], tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert run(network, program, 400) == "400"
    before = told(network, "ledger", "balance")["owed"]
    network.kill(*network.pids())
    network.start()
    assert told(network, "ledger", "balance")["owed"] == before
    assert run(network, program, 300) == "300"
    eventually(lambda: signed(network), 40)
    told(network, "ledger", "settle")
    network.kill("hub")
    network.start()
    told(network, "ledger", "settle")
    found = audited(network)
    assert found["clean"], found["deviations"]
    # 700 calls, of which every fiftieth fails twice: nothing is missing, nothing stands twice.
    assert found["totals"]["leaves"] >= 700 + 700 // 50
    status = told(network, "ledger", "balance")
    assert status["claimed"] == status["owed"] > before


def test_a_rotated_session_key_leaves_no_work_of_before_unpaid(
    new_network: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    network = new_network()
    ran = network.cli("run", "-y", "--", "true")
    assert "the hub holds your organisation's account" in ran.err
    told(network, "ledger", "settle")
    network.stop()  # before the node has signed
    ring = network.directory / "hub" / "keys"
    where = {"FARLANE_KEYS": str(ring), "FARLANE_KEY_PASSWORD_FILE": str(ring / "password")}
    network.cli("key", "rotate", "session", **where)
    network.start()
    network.cli("run", "-y", "--", "true")
    eventually(lambda: signed(network), 30)
    told(network, "ledger", "settle")
    old, new = told(network, "ledger", "channels")
    assert (old["node"], old["tasks"], new["tasks"]) == (new["node"], 1, 1)
    assert old["signer"] != new["signer"]
    assert audited(network)["clean"]


def test_without_credits_work_goes_on_to_the_nodes_credit_and_after_a_grant_further(
    new_network: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    sets = ("hub.starting_credits=0", "node.core_hour=36000", "node.credit=4", "node.head_s=0.2")
    network = new_network("--nodes", "1", *(part for one in sets for part in ("--set", one)))
    jobs = 0
    while jobs < 20:  # each costs more than a credit
        network.cli("run", "-y", "-d", "--cpu", "1", "--max-duration", "1m", "--", "sleep", "0.15")
        jobs += 1
    eventually(lambda: "without a voucher" in network.cli("why", f"j{jobs}").out)
    eventually(lambda: "`farlane ledger grant" in network.cli("ps").err)
    done = sum(one["done"] for one in told(network, "ps", "--all"))
    assert 0 < done < 10, "the node goes on no longer than its owner said"
    for arguments in (("ps",), ("usage",), ("why", f"j{jobs}"), ("ledger", "balance")):
        ended = network.cli(*arguments)
        assert "`farlane ledger grant" in ended.err + ended.out, arguments
    assert "lacks" in told(network, "ledger", "balance")["problem"]
    assert all(row["promised"] == 0 for row in told(network, "ledger", "channels"))
    network.cli("ledger", "grant", "1000")
    for number in range(jobs):
        network.cli("wait", f"j{number + 1}", "--timeout", "60s")
    eventually(lambda: signed(network), 30)
    told(network, "ledger", "settle")
    assert told(network, "ledger", "balance")["problem"] == ""
    assert audited(network)["clean"]


def test_the_ledger_is_there_again_soon_after_a_crash(network: Any) -> None:
    network.cli("run", "-y", "--", "true")
    network.kill("hub")
    started = time.monotonic()
    network.start()
    told(network, "ledger", "balance")
    assert time.monotonic() - started < 20
