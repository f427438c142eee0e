"""The command line against a running network: work is priced, runs, is watched, stopped, copied and explained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farlane.kit.keys import random_secret
from farlane.wire.tokens import Token, parse_token

JOB_FILE = """\
name: count
run: |
  echo task $FARLANE_TASK_INDEX of $FLAVOUR
  sort data/words.txt > out/sorted.txt
  wc -l < data/words.txt > out/count.txt
setup: mkdir -p out
tasks: 3
env: {FLAVOUR: vanilla}
inputs: [data/words.txt]
outputs: [out/*.txt]
resources: {cpu: 0.5, memory: 128MB}
priority: 70
"""


def test_up_says_where_it_is_and_a_second_up_changes_nothing(network: Any) -> None:
    before = network.pids()
    again = network.start()
    assert again["hub_started"] is False
    assert again["nodes_started"] == []
    assert again["nodes"] == ["node-1", "node-2"]
    assert again["join_token"].startswith("fl1.")
    assert again["directory"] == str(network.directory)
    assert network.pids() == before
    assert set(before) == {"hub", "node-1", "node-2"}


def test_nodes_are_listed_with_what_they_offer(network: Any) -> None:
    nodes = sorted(network.json("nodes"), key=lambda node: node["spec"]["name"])
    assert [node["spec"]["name"] for node in nodes] == ["node-1", "node-2"]
    for node in nodes:
        assert node["state"] == "online"
        assert node["spec"]["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
        assert node["spec"]["capacity"]["cpu_milli"] >= 1000
        assert node["spec"]["rates"]["core_second"] > 0
    assert "node-1" in network.cli("nodes").out


def test_a_command_runs_and_prints_here_what_it_printed_there(network: Any) -> None:
    ended = network.shell("run", "-y", "--", "echo hello; echo oops >&2")
    assert ended.out == "hello\n"
    assert "oops" in ended.err
    assert "at most" in ended.err  # the price was shown before
    assert "succeeded" in ended.err


def test_a_price_is_agreed_to_before_anything_runs(network: Any) -> None:
    before = network.json("ps", "--all")
    ended = network.cli("run", "--", "echo", "hello", code=1)
    assert "-y" in ended.err
    assert "at most" in ended.err
    assert network.json("ps", "--all") == before


def test_a_job_file_with_inputs_and_outputs_goes_round(network: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    words = ["pear", "apple", "fig"]
    (tmp_path / "data" / "words.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "job.yaml").write_text(JOB_FILE)
    done = network.json("apply", "-y", str(tmp_path / "job.yaml"))
    status, tasks = done["status"], done["tasks"]
    job = status["job"]
    assert (status["state"], status["done"], status["total"], status["priority"]) == ("succeeded", 3, 3, 70)
    assert sum(task["amount"] for task in tasks) == status["spent"] > 0
    assert {file["path"] for task in tasks for file in task["outputs"]} == {"out/sorted.txt", "out/count.txt"}
    assert all(task["cpu_us"] > 0 and task["peak_bytes"] > 0 and task["lease_ms"] > 0 for task in tasks)

    copied = network.json("cp", f"{job}:", str(tmp_path / "all"))
    assert len(copied) == 6
    for index in range(3):
        assert (tmp_path / "all" / str(index) / "out/sorted.txt").read_text() == "apple\nfig\npear\n"
    network.cli("cp", f"{job}.1:out/count.txt", str(tmp_path / "count.txt"))
    assert (tmp_path / "count.txt").read_text().strip() == "3"
    assert "no such output" in network.cli("cp", f"{job}:nothing", str(tmp_path / "x"), code=1).err

    assert network.cli("logs", f"{job}.2").out == "task 2 of vanilla\n"
    lines = network.cli("logs", job).out.splitlines()
    assert sorted(lines) == [f"[{index}] task {index} of vanilla" for index in range(3)]

    listed = network.json("ps", job)
    assert sorted(task["index"] for task in listed["tasks"]) == [0, 1, 2]
    assert status["job"] in [each["job"] for each in network.json("ps", "--all")]
    assert status["job"] not in [each["job"] for each in network.json("ps")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run: 'true'\nmax_duratoin: 5\n", ["job.yaml:2", "max_duratoin", "did you mean 'max_duration'"]),
        ("run: 'true'\nimage: python:3.12\n", ["image", "not available"]),
        ("run: 'true'\nresources: {cpu: -1}\n", ["cpu", "-1"]),
        ("run: 'true'\npriority: 101\n", ["priority", "0 to 100"]),
        ("resources: {cpu: 1}\n", ["run", "missing"]),
        ("run: [unclosed\n", ["not YAML"]),
        ("run: cat x\ninputs: [not-there.txt]\n", ["not-there.txt"]),
        ("run: 'true'\noutputs: [../../etc/passwd]\n", ["../../etc/passwd"]),
    ],
    ids=["misspelt", "not built", "negative", "priority", "nothing to run", "no yaml", "no input", "escape"],
)
def test_a_job_file_that_makes_no_sense_is_refused_before_it_costs_anything(
    network: Any, tmp_path: Path, text: str, expected: list[str]
) -> None:
    (tmp_path / "job.yaml").write_text(text)
    ended = network.cli("apply", "-y", str(tmp_path / "job.yaml"), code=1)
    assert ended.err.startswith("error: ")
    for part in expected:
        assert part in ended.err


def test_a_command_that_fails_says_so_and_can_be_retried(network: Any, tmp_path: Path) -> None:
    flag = tmp_path / "now-it-works"
    text = f"test -e {flag} || {{ echo broken >&2; exit 3; }}"
    done = network.json("run", "-y", "--", text, code=1)
    job = done["status"]["job"]
    (task,) = done["tasks"]
    assert done["status"]["state"] == "failed"
    assert task["failure"]["kind"] == "exit-code"
    assert "3" in task["failure"]["message"]
    why = network.json("why", job)
    assert why["failures"][0]["kind"] == "exit-code"
    assert "blame: publisher" in network.cli("why", job).err
    flag.touch()
    assert network.json("retry", job)["state"] != "failed"
    wait_for_state(network, job, "succeeded")


def wait_for_state(network: Any, job: str, state: str) -> Any:
    with network.client() as client:
        status = client.job(job).wait(40)
    assert status.state == state, status
    return status


def test_a_job_that_fits_nowhere_says_why_until_it_is_stopped(network: Any) -> None:
    ended = network.cli("run", "-y", "-d", "--cpu", "512", "--", "echo never")
    job = ended.out.strip()
    assert "no node can run this" in ended.err
    why = network.json("why", job)
    assert "512" in why["dominant"]
    assert why["fix"]
    assert {node["name"] for node in why["nodes"]} == {"node-1", "node-2"}
    assert network.json("ps", job)["status"]["state"] == "pending"
    stopped = network.json("stop", job, "--reason", "too large")
    assert (stopped["state"], stopped["stopped"], stopped["spent"]) == ("stopped", 1, 0)
    assert "too large" in network.cli("why", job).out


def test_a_running_job_is_stopped_and_its_processes_are_gone(
    network: Any, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    pid_file = tmp_path / "pid"
    job = network.cli("run", "-y", "-d", "--", f"echo $$ > {pid_file}; sleep 600").out.strip()
    eventually(lambda: pid_file.exists() and pid_file.read_text().strip())
    assert network.json("stop", job)["state"] == "stopped"
    eventually(lambda: not Path(f"/proc/{pid_file.read_text().strip()}").exists())
    status = network.json("ps", job)["status"]
    assert status["spent"] > 0  # its node is paid for the time
    assert status["reserved"] == 0


def test_logs_are_followed_live(network: Any, tmp_path: Path) -> None:
    flag = tmp_path / "go-on"
    text = f"echo first; while ! test -e {flag}; do sleep 0.05; done; echo second"
    job = network.cli("run", "-y", "-d", "--", text).out.strip()
    command = [sys.executable, "-m", "farlane.cli.main", "logs", "-f", job]
    following = subprocess.Popen(command, env=network.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert following.stdout is not None
        assert following.stdout.readline() == "first\n"
        flag.touch()
        assert following.stdout.readline() == "second\n"
        assert following.wait(20) == 0
    finally:
        following.kill()
        following.communicate()


def test_a_submit_with_a_key_is_one_job_however_often_it_is_repeated(network: Any) -> None:
    jobs = {network.cli("run", "-y", "-d", "--key", "nightly", "--", "echo once").out for _ in range(2)}
    assert len(jobs) == 1
    assert "another specification" in network.cli("run", "-y", "--key", "nightly", "--", "echo x", code=1).err


def test_a_wrong_token_and_a_wrong_hub_are_told_apart(network: Any) -> None:
    client = json.loads((network.directory / "client.json").read_text())
    token = parse_token(client["token"])
    unknown = Token("client", token.organisation, token.publisher, token.spki_sha256, random_secret())
    ended = network.cli("ps", code=1, FARLANE_URL=client["url"], FARLANE_TOKEN=unknown.text())
    assert "does not know the token" in ended.err
    foreign = Token("client", token.organisation, token.publisher, b"\x01" * 32, token.secret)
    ended = network.cli("ps", code=1, FARLANE_URL=client["url"], FARLANE_TOKEN=foreign.text())
    assert "not the one the token was made for" in ended.err
    ended = network.cli("ps", code=1, FARLANE_URL=client["url"], FARLANE_TOKEN=network.join_token)
    assert "client" in ended.err
    ended = network.cli("ps", code=1, FARLANE_URL=client["url"], FARLANE_TOKEN=client["token"][:-4])
    assert "token" in ended.err
    ended = network.cli("join", client["url"], "--token", foreign.text(), "--name", "x", code=1)
    assert "WrongHub" in ended.err or "not the one the token was made for" in ended.err


def test_a_node_joins_works_and_is_drained(
    network: Any, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    url = json.loads((network.directory / "client.json").read_text())["url"]
    command = [
        sys.executable,
        "-m",
        "farlane.cli.main",
        "join",
        url,
        "--name",
        "late",
        "--dir",
        str(tmp_path),
    ]
    command += ["--set", "labels=zone=far", "--set", "cpu=1"]
    joining = subprocess.Popen(
        command, env=network.environment | {"FARLANE_JOIN_TOKEN": network.join_token},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        eventually(lambda: state_of(network, "late") == "online")
        (tmp_path / "far.yaml").write_text("run: sleep 0.2\nlabels: {zone: far}\n")
        done = network.json("apply", "-y", str(tmp_path / "far.yaml"))
        late = next(node for node in network.json("nodes") if node["spec"]["name"] == "late")
        assert done["tasks"][0]["node"] == late["spec"]["node"]
        assert network.json("drain", "late")["node"] == "late"
        assert joining.wait(30) == 0
        eventually(lambda: state_of(network, "late") == "offline")
        assert network.json("run", "-y", "--", "true")["status"]["state"] == "succeeded"
    finally:
        if joining.poll() is None:
            os.killpg(joining.pid, signal.SIGKILL)
        joining.communicate()


def state_of(network: Any, name: str) -> str | None:
    return next((node["state"] for node in network.json("nodes") if node["spec"]["name"] == name), None)


def test_a_backup_is_restored_into_a_new_epoch(network: Any) -> None:
    """The last test of this module: it stops the network."""
    job = network.json("run", "-y", "--", "echo kept")["status"]["job"]
    made = network.json("backup", "before.db")
    assert Path(made["path"]).stat().st_size == made["size_bytes"] > 0
    lost = network.json("run", "-y", "--", "echo lost")["status"]["job"]
    assert "running" in network.cli("restore", made["path"], code=1).err
    network.stop()
    assert "kept as" in network.cli("restore", made["path"]).out
    network.start()
    jobs = [each["job"] for each in network.json("ps", "--all", "-n", "1000")]
    assert job in jobs
    assert lost not in jobs
    assert network.json("run", "-y", "--", "echo on")["status"]["state"] == "succeeded"
