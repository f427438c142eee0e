"""A served model on a real network: kill -9 of a node, the hub and replicas, a version that cannot start, a canary."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("xllamacpp", reason="llama.cpp is missing: `pip install farlane[serve]`")

Network = Any  # the class is in conftest.py
Eventually = Callable[..., None]
NODES = ("--node", "name=oak,cpu=2,memory=1300MB", "--node", "name=elm,cpu=2,memory=1300MB")
SIZE = ("--memory", "400MB", "--cpu", "0.5")
MODEL = "lab/tiny"
CLEAR = re.compile("in the middle of its answer|went away|ended the stream")


@dataclass(slots=True)
class Answer:
    """What became of one request. started: monotonic seconds."""

    started: float
    status: int
    version: str = ""
    message: str = ""


@dataclass(slots=True)
class Served:
    """The model on its network, with three versions of which the last cannot start."""

    network: Network
    versions: list[str] = field(default_factory=list)

    def post(self, **changes: object) -> urllib.request.Request:
        """Return a request."""
        token = json.loads((self.network.directory / "client.json").read_text())["token"]
        port = json.loads((self.network.directory / "hub" / "ready.json").read_text())["gateway_port"]
        body = {"model": MODEL, "prompt": "It is a truth", "max_tokens": 4, "temperature": 0} | changes
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), headers
        )

    def ask(self) -> Answer:
        """Ask once."""
        started = time.monotonic()
        try:
            with urllib.request.urlopen(self.post(), timeout=50) as reply:
                return Answer(started, reply.status, json.load(reply)["system_fingerprint"])
        except urllib.error.HTTPError as error:
            with error:
                return Answer(started, error.code, message=json.load(error)["error"]["message"])

    def row(self) -> Any:
        """Return where the deployment stands."""
        (row,) = self.network.json("deployments")
        return row

    def nodes(self) -> list[str]:
        """Return the node of each replica that answers."""
        return [each["node"] for each in self.row()["replicas"] if each["state"] == "ready"]

    def replica_pids(self) -> list[int]:
        """Return the processes of the replicas that run."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if "farlane.models.serving.replica" not in command:
                continue
            with suppress(psutil.NoSuchProcess):
                if str(self.network.directory) in " ".join((*command, process.cwd())):
                    found.append(process.pid)
        return found

    def tag(self, version: int, alias: str) -> None:
        """Move an alias."""
        self.network.cli("models", "tag", f"{MODEL}@v{version}", alias)

    @contextmanager
    def load(self, callers: int = 3) -> Iterator[list[Answer]]:
        """Ask all the time inside the block; yields the answers as they come."""
        answers: list[Answer] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                answers.append(self.ask())

        threads = [threading.Thread(target=ask) for _ in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield answers
        finally:
            over.set()
            for thread in threads:
                thread.join()


@pytest.fixture(scope="module")
def served(new_network: Callable[..., Network], tmp_path_factory: pytest.TempPathFactory) -> Served:
    network = new_network(*NODES, "--set", "hub.lease_s=8")
    found = Served(network)
    broken = tmp_path_factory.mktemp("broken")
    with as_file(files("farlane.demo") / "models" / "novelist") as folder:
        shutil.copytree(folder, broken, dirs_exist_ok=True)
        break_model(broken)
        for source, change in ((folder, "1"), (folder, "2"), (broken, "3")):
            arguments = (
                "models",
                "add",
                str(source),
                MODEL,
                "--metric",
                f"loss={change}",
                "--no-delta",
                "--json",
            )
            found.versions.append(network.cli(*arguments).json["cid"])
    found.tag(1, "champion")
    network.shell("serve", "-y", f"{MODEL}@champion", "--replicas", "2", *SIZE)
    return found


def break_model(folder: Path) -> None:
    """Make a model that llama.cpp does not know out of one that it does."""
    [path] = folder.glob("*.gguf")
    data = path.read_bytes()
    name = b"general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00llama"
    assert name in data
    path.write_bytes(data.replace(name, name[:-5] + b"lmaal", 1))


@pytest.mark.slow
def test_a_node_killed_under_load_fails_no_later_request_and_is_replaced(
    served: Served, eventually: Eventually
) -> None:
    eventually(lambda: len(served.nodes()) == 2)
    with served.load() as answers:
        eventually(lambda: len(answers) > 10)
        victim = served.nodes()[0]
        killed = time.monotonic()
        served.network.kill(victim)
        other = {"oak": "elm", "elm": "oak"}[victim]
        eventually(lambda: served.nodes() == [other, other])
        count = len(answers)
        eventually(lambda: len(answers) > count + 10)
    served.network.start()
    assert [each for each in answers if each.started > killed and each.status != 200] == []
    broken = [each for each in answers if each.status != 200]
    assert all(each.status == 503 and CLEAR.search(each.message) for each in broken), broken
    assert len(broken) <= 3


def test_replicas_killed_in_mid_stream_end_it_with_an_error_that_clients_know(
    served: Served, eventually: Eventually
) -> None:
    # The small model has soon said all it may: on a quick machine a kill can come too late for every stream.
    assert any(_cut_short(served, eventually) for _ in range(5))
    assert served.ask().status == 200


def _cut_short(served: Served, eventually: Eventually) -> bool:
    """Kill all replicas while eight answers stream; tells whether that cut any of them short."""
    eventually(lambda: len(served.nodes()) == len(served.replica_pids()) == 2)
    pids = served.replica_pids()
    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:

        def begun(_: int) -> Any:
            reply = stack.enter_context(
                urllib.request.urlopen(served.post(stream=True, max_tokens=240), timeout=50)
            )
            assert reply.readline().startswith(b"data: ")
            return reply

        replies = list(pool.map(begun, range(8)))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        ends = [[line for line in reply if line.strip()][-2:] for reply in replies]
    assert {last for _, last in ends} == {b"data: [DONE]\n"}
    errors = [json.loads(line.removeprefix(b"data: ")).get("error") for line, _ in ends]
    assert all(CLEAR.search(error["message"]) for error in errors if error)
    return any(errors)


def test_a_hub_that_was_killed_finds_its_replicas_again(served: Served, eventually: Eventually) -> None:
    eventually(lambda: len(served.nodes()) == len(served.replica_pids()) == 2)
    pids = set(served.replica_pids())
    served.network.kill("hub")
    served.network.start()
    assert served.ask().status == 200
    eventually(lambda: len(served.nodes()) == 2)
    assert set(served.replica_pids()) == pids


def test_a_version_that_cannot_start_is_halted_and_the_old_one_serves_on(
    served: Served, eventually: Eventually
) -> None:
    before = served.row()["failed"]
    with served.load() as answers:
        served.tag(3, "champion")
        eventually(lambda: f"failed and {served.versions[0]} serves" in served.row()["reason"])
        count = len(answers)
        eventually(lambda: len(answers) > count + 10)
    assert {(each.status, each.version) for each in answers} == {(200, served.versions[0])}
    row = served.row()
    assert (row["version"], row["target"], row["failed"]) == (served.versions[0], served.versions[2], before)
    served.tag(1, "champion")


def test_a_canary_gets_its_share_and_is_promoted_and_rolled_back(
    served: Served, eventually: Eventually
) -> None:
    served.network.shell("serve", "-y", f"{MODEL}@champion", "--canary", "20", *SIZE)
    old, new = served.versions[:2]
    served.tag(2, "canary")
    before = served.row()["failed"]
    with served.load() as answers:
        eventually(lambda: any(each.version == new for each in answers))
        count = len(answers)
        eventually(lambda: len(answers) > count + 250)
        seen = Counter(each.version for each in answers[count : count + 250])
        assert set(seen) == {old, new}
        assert 0.1 < seen[new] / 250 < 0.32
        for version, cid in ((2, new), (1, old)):
            served.tag(version, "champion")
            if version == 1:
                served.tag(1, "canary")
            eventually(lambda cid=cid: {each.version for each in answers[-20:]} == {cid})
    assert {each.status for each in answers} == {200}
    assert served.row()["failed"] == before


def test_an_idle_model_has_no_replica_and_comes_back_when_it_is_asked(
    served: Served, eventually: Eventually
) -> None:
    served.network.shell(
        "serve", "-y", f"{MODEL}@champion", "--min", "0", "--max", "1", "--idle", "1s", *SIZE
    )
    eventually(lambda: served.row()["replicas"] == [])
    assert served.ask().status == 200
    served.network.shell("undeploy", MODEL)
