"""Jobs on a real network: run, ps, logs, wait, why and cp, for people and for programs."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Shell = Any  # the class is in conftest.py

QUICK = ("--memory", "64MB", "--max-duration", "1m")


def submitted(network: Shell, *arguments: str) -> str:
    return network("run", "-y", "-d", *QUICK, *arguments).stdout.strip()


def test_a_task_knows_its_job_and_programs_get_the_same_id_everywhere(network: Shell) -> None:
    done = network.json("run", "-y", *QUICK, "--", "echo $FARLANE_JOB $FARLANE_TASK_INDEX")
    job = done["status"]["job"]
    assert job[0] == "j"
    assert network("logs", job).stdout == f"{job} 0\n"
    assert done["tasks"][0]["task"] == f"{job}.0"
    assert network.json("ps", "-a")[0]["job"] == job
    assert network.json("ps", job)["status"]["job"] == job
    assert network.json("why", job)["job"] == job
    assert isinstance(network.json("ps", job)["status"]["spent"], int)


def test_logs_as_json_are_one_object_for_each_line(network: Shell) -> None:
    job = submitted(
        network, "--tasks", "2", "--", "echo one; printf 'two\\nthree'; sleep 0.05; echo oops >&2"
    )
    network("wait", job)
    lines = [json.loads(line) for line in network("logs", "--json", job).stdout.splitlines()]
    first = [(line["stream"], line["line"]) for line in lines if line["task"] == f"{job}.0"]
    assert sorted(first) == [
        ("stderr", "oops"),
        ("stdout", "one"),
        ("stdout", "three"),
        ("stdout", "two"),
    ]
    assert {line["attempt"] for line in lines} == {1}
    one = network("logs", "--json", f"{job}.1").stdout.splitlines()
    assert {json.loads(line)["task"] for line in one} == {f"{job}.1"}


def test_ps_names_nodes_and_counts_what_was_stopped_apart(network: Shell) -> None:
    job = submitted(network, "--tasks", "6", "--", "sleep 60")
    stopped = network("stop", job).stdout.splitlines()
    row = dict(zip(stopped[0].split(), stopped[1].split(), strict=False))
    assert (row["STATE"], row["FAILED"], row["STOPPED"]) == ("stopped", "0", "6")
    assert "it was stopped by its publisher" in network("why", job).stdout
    done = submitted(network, "--", "true")
    network("wait", done)
    (task,) = network.json("ps", done)["tasks"]
    assert task["node_name"] in ("oak", "elm")
    assert network("ps", done).stdout.splitlines()[-1].split()[:3] == [f"{done}.0", "done", task["node_name"]]


def test_wait_tells_how_jobs_ended(network: Shell) -> None:
    good, bad = submitted(network, "--", "true"), submitted(network, "--", "exit 3")
    assert network("wait", good).stdout.startswith(f"{good} succeeded: 1 of 1 task, ")
    assert f"{bad} failed: 0 of 1 task, " in network("wait", good, bad, code=1).stdout
    assert [job["state"] for job in network.json("wait", good, bad, code=1)] == ["succeeded", "failed"]


def test_wait_gives_up_in_time(network: Shell) -> None:
    job = submitted(network, "--", "sleep 60")
    done = network("wait", "--timeout", "200ms", job, code=1)
    assert f"{job} has not ended within 200ms; it goes on. `farlane why {job}`" in done.stderr
    assert "not a duration" in network("wait", "--timeout", "soon", job, code=1).stderr
    network("stop", job)


def test_why_of_a_job_that_ended_by_its_deadline(network: Shell) -> None:
    job = submitted(network, "--deadline", "500ms", "--", "sleep 60")
    network("wait", job, code=1)
    words = network("why", job).stdout
    assert f"{job} is failed: its deadline passed before all tasks had ended" in words
    assert "to fix it: submit what is left as a new job with a later deadline" in words


def test_why_of_a_job_that_ended_by_its_budget(network: Shell) -> None:
    job = submitted(network, "--budget", "0.00000001", "--", "sleep 60")
    network("wait", job, code=1)
    words = network("why", job).stdout
    assert f"{job} is failed: what is left of its budget does not cover another attempt" in words
    assert "to fix it: submit what is left as a new job with a larger budget" in words


def test_why_of_a_job_whose_task_failed(network: Shell) -> None:
    job = submitted(network, "--", "exit 3")
    network("wait", job, code=1)
    words = network("why", job)
    assert f"{job} is failed: tasks have failed; see the failures below" in words.stdout
    assert "exit-code, blame: publisher" in words.stderr


def test_one_of_something_is_not_many(network: Shell, tmp_path: Path) -> None:
    done = network("run", "-y", *QUICK, "--output", "out.txt", "--", "echo hello > out.txt")
    assert "1 output file (6 B); fetch with `farlane cp" in done.stderr
    assert "2 nodes can run it" in done.stderr
    assert "1 of 1 task, " in done.stderr
    job = network.json("ps", "-a", "-n", "1")[0]["job"]
    assert network("cp", f"{job}:", str(tmp_path)).stdout == f"1 file copied to {tmp_path}\n"
    assert (tmp_path / "out.txt").read_text() == "hello\n"
    cheap = network("run", "-y", *QUICK, "--max-price", "0.0115", "--", "true")
    assert "1 node can run it" in cheap.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cpu", "many"], "--cpu: 'many' is not a CPU share"),
        (["--memory", "64MB", "--disk", "x"], "--disk: 'x' is not a size"),
        (["--env", "A=1", "--env", "B-C=2"], "--env: 'B-C' is not a variable name"),
        (["--priority", "101"], "--priority: "),
        (["--max-duration", "never"], "--max-duration: "),
        (["--input", "nowhere.csv"], "--input: "),
        (["--output", "../x"], "--output: "),
    ],
)
def test_a_wrong_option_is_called_by_its_name(
    refused: Callable[..., str], options: list[str], message: str
) -> None:
    said = refused("run", "-y", *options, "--", "python", "-c", "print(1)\nprint(2)")
    assert said.startswith(f"error: {message}")
    assert "command line:" not in said


def test_a_script_may_hold_an_open_quote(network: Shell) -> None:
    assert "it's" in network("run", "-y", *QUICK, "--", 'echo "it\'s"').stdout


def test_an_empty_command_is_refused(refused: Callable[..., str]) -> None:
    assert refused("run", "--", "").startswith("error: COMMAND: run is empty")


def test_backup_and_restore_tell_programs_what_they_did(shell: Shell) -> None:
    shell("up", "--port", "0", "--nodes", "0")
    made = shell.json("backup", "first.db")
    assert Path(made["path"]).stat().st_size == made["size_bytes"]
    shell("down")
    told = shell.json("restore", made["path"])
    assert told["directory"] == str(shell.directory)
    assert Path(told["kept"]).exists()


def test_an_interrupted_run_says_that_its_job_goes_on(network: Shell) -> None:
    running = network.start("run", "-y", *QUICK, "--", "sleep 60")
    assert running.stderr is not None
    line = ""
    while not line.startswith("submitted "):
        line = running.stderr.readline()
        assert line, "it ended before it submitted"
    job = line.split()[1]
    running.send_signal(signal.SIGINT)
    _, rest = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"{job} goes on; `farlane logs -f {job}` follows it" in rest
    network("stop", job)


def test_a_budget_below_the_least_amount_is_refused(network: Shell) -> None:
    done = network("budget", "set", "--month", "0.0000000001", code=1)
    assert "less than the least there is, 0.000000001" in done.stderr
