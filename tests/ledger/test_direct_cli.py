"""Direct calls as people type them: a node serves, dies and serves again; a publisher calls it, hub-less, on anvil."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from farlane.testing.direct_desk import Desk
from farlane.testing.direct_world import FAUCET

pytestmark = pytest.mark.real


@pytest.fixture
def desk(tmp_path: Path, anvil_url: str) -> Desk:
    found = Desk(tmp_path, anvil_url)
    found.deploy()
    return found


def test_a_command_runs_on_a_node_found_on_chain_and_is_paid(desk: Desk, tmp_path: Path) -> None:
    first, second = str(tmp_path / "first.json"), str(tmp_path / "second.json")
    (tmp_path / "in.txt").write_text("from another machine")
    files = ["-i", str(tmp_path / "in.txt"), "-o", "out.txt", "--into", str(tmp_path / "back")]
    with desk.serving() as node:
        listed = json.loads(desk.run("direct", "nodes", *desk.network, "--rpc", desk.url, "--json"))
        assert [one["key"] for one in listed["nodes"]] == [desk.addresses["lab"]]
        refused = desk.call("--", "true", yes=False, code=1)
        assert "would open a channel with" in refused.stderr
        done = desk.call(
            "--receipt", first, *files, "--", "tr a-z A-Z < in.txt | tee out.txt; exit 7", code=7
        )
        assert "publisher, paid" in done.stderr
        done = desk.call("--receipt", first, *files, "--", "tr a-z A-Z < in.txt | tee out.txt")
        assert done.stdout == "FROM ANOTHER MACHINE"
        assert "open a channel" not in done.stderr  # it is there, and holds more than one task
        assert (tmp_path / "back/out.txt").read_text() == done.stdout
        node.kill()
    assert "can still be claimed" in desk.run("receipt", "verify", first, "--rpc", desk.url, code=1)
    with desk.serving() as node:  # on another port, with the books that the killed one left
        assert desk.call("--receipt", second, "--", "echo again").stdout == "again\n"
        desk.signed("me", "direct", "close", *desk.network, desk.addresses["lab"])
        node.send_signal(signal.SIGTERM)
        assert node.wait(60) == 0
    for receipt in (first, second):
        assert "NOT VALID" not in desk.run("receipt", "verify", receipt, "--rpc", desk.url)


def test_a_node_killed_in_mid_task_is_blamed_and_owed_nothing(desk: Desk, tmp_path: Path) -> None:
    go, runs = tmp_path / "go", tmp_path / "runs"
    command = f"echo begun >> {runs}; echo begun; until [ -e {go} ]; do sleep 0.01; done; echo done"
    with desk.serving() as node, desk.calling("--", command) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "begun\n"  # while the task still runs
        node.kill()
        _, said = publisher.communicate(timeout=60)
        assert publisher.returncode == 1
        assert "Blame: provider" in said
        assert "nothing is owed" in said
    go.touch()
    with desk.serving() as node:
        recovered = desk.ran(
            "direct", "recover", *desk.network, "--rpc", desk.url, "--key", "me", desk.addresses["lab"]
        )
        assert recovered.stdout == "begun\ndone\n"
        assert runs.read_text() == "begun\nbegun\n"
        (receipt,) = (tmp_path / "data" / "receipts").glob("*.json")
        assert json.loads(receipt.read_bytes())["head"]["size"] == 1  # one leaf, of two runs
        node.send_signal(signal.SIGTERM)
        assert node.wait(60) == 0
    assert "NOT VALID" not in desk.run("receipt", "verify", str(receipt), "--rpc", desk.url)


def test_a_publisher_killed_in_mid_task_pays_for_it_at_its_next_call(desk: Desk, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with desk.serving() as node:
        with desk.calling(
            "--", f"echo begun; until [ -e {go} ]; do sleep 0.01; done; echo done"
        ) as publisher:
            assert publisher.stdout is not None
            assert publisher.stdout.readline() == "begun\n"
            publisher.kill()
        go.touch()
        second = desk.call("--", "echo second")
        assert second.stdout == "second\n"
        assert "left behind was finished" in second.stderr
        receipts = sorted((tmp_path / "data" / "receipts").glob("*.json"))
        assert len(receipts) == 2
        node.send_signal(signal.SIGTERM)
        assert node.wait(60) == 0
    for receipt in receipts:
        assert "NOT VALID" not in desk.run("receipt", "verify", str(receipt), "--rpc", desk.url)


def test_a_node_serves_for_the_provider_that_has_let_its_key_sign(desk: Desk, tmp_path: Path) -> None:
    lab, boss, net = desk.addresses["lab"], FAUCET.address, tmp_path / "net.json"
    signed = tmp_path / "delegation.json"
    desk.run("key", "delegate", "boss", lab, "--network", str(net), "--expires", "1d", "-o", str(signed))
    with desk.serving("--delegation", str(signed)):
        assert (desk.ready["provider"], desk.ready["listed"]) == (boss, False)
        listed = json.loads(desk.run("direct", "nodes", *desk.network, "--rpc", desk.url, "--json"))
        assert listed["nodes"] == []  # nobody finds it before the provider has listed it
    said = desk.ran(
        "node", "serve", *desk.network, "--rpc", desk.url, "--key", "me", "--endpoint", "https://127.0.0.1:1",
        "--delegation", str(signed), code=1,
    ).stderr  # fmt: skip
    assert f"lets {lab} sign" in said
