"""Reading Philly's jobs, requests for images, spot nodes and Gavel's throughputs, and the worlds made of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import Corrupted, InvalidInput
from farlane.lab import gpu_worlds
from farlane.lab.traces import gavel
from farlane.lab.traces.gavel import GavelTable, Kind, read_gavel
from farlane.lab.traces.genai import read_genai
from farlane.lab.traces.philly import read_philly
from farlane.lab.traces.spot_nodes import read_spot_nodes
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.state import DROPPED, new_state

PHILLY = ",run_time,wait_time,submit_time,gpu_num\n0,60,1,1000,1\n1,30,2,1010,20\n2,5,0,990,8\n"
GENAI = (
    "gmt_create,predict_type,predict_status,exec_time_seconds,groupId,num_images_per_prompt,num_inference_steps,"
    "checkpoint_model_version_id,num_lora\n"
    "2024-11-15 16:57:50,TXT_2_IMG,SUCCEED,32.0,G1,1.0,30.0,M2,0\n"
    "2024-11-15 16:57:40,TXT_2_IMG,FAILED,4,G0,,,M1,2\n"
    "2024-11-15 16:57:45,TXT_2_IMG,PENDING,0,G0,,,,\n"
    "2024-11-15 16:58:00,TXT_2_IMG,SUCCEED,10,G1,1,30,M2,0\n"
)
SPOT = "gpu_model,gpu_capacity_num,cpu_num,node_name\nH800,8,192,a\nA10,1,128,b\n,0,64,c\n"
LM, GAN = "('LM (batch size 5)', 1)", "('CycleGAN', 2)"
GAVEL = {
    "k80": {LM: {"null": 2.0}, GAN: {"null": 0}},
    "v100": {LM: {"null": 8, LM: [3.0, 3.0], "('other', 1)": [1, 1]}, GAN: {"null": 5.0}},
}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trace"
    path.write_text(text)
    return path


def test_phillys_jobs_come_in_the_order_of_submission(tmp_path: Path) -> None:
    trace = read_philly(written(tmp_path, PHILLY))
    assert trace.submit_s.tolist() == [0, 10, 20]
    assert trace.gpus.tolist() == [8, 1, 20]
    assert (len(trace), trace.wait_s.tolist()) == (3, [0, 1, 2])


@pytest.mark.parametrize(
    ("row", "says"), [("3,-1,0,0,1", "run_time is -1"), ("3,1,0,0,0", "gpu_num"), ("3,1,0,-5,1", "submit")]
)
def test_jobs_that_cannot_be_are_refused(tmp_path: Path, row: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_philly(written(tmp_path, PHILLY + row + "\n"))


def test_jobs_larger_than_a_machine_are_gangs(tmp_path: Path) -> None:
    world = gpu_worlds.philly_cluster(read_philly(written(tmp_path, PHILLY)), 0, 3, ((2, 8), (1, 2)))
    assert world.nodes.gpus.tolist() == [8, 8, 2]
    assert world.tasks.gpus.tolist() == [8, 1, 8, 8, 4]
    assert world.tasks.gang.tolist() == [0, 1, 2, 2, 2]
    assert world.tasks.arrival.tolist() == [0, 10, 20, 20, 20]
    for machines in ((), ((1, 17),)):
        with pytest.raises(InvalidInput, match="GPUs"):
            gpu_worlds.philly_cluster(read_philly(written(tmp_path, PHILLY)), 0, 3, machines)


def test_phillys_pool_runs(tmp_path: Path) -> None:
    world = gpu_worlds.philly_pool(read_philly(written(tmp_path, PHILLY)), 0, 3, 20)
    state = new_state(world)
    run_queue(world, state, int(Rule.FCFS), False)
    assert state.started.tolist() == [0, 10, 70]


def test_requests_that_ended_are_read(tmp_path: Path) -> None:
    trace = read_genai(written(tmp_path, GENAI))
    assert trace.submit_s.tolist() == [0, 10, 20]
    assert trace.failed.tolist() == [True, False, False]
    assert trace.checkpoints == ("M1", "M2")
    assert trace.checkpoint.tolist() == [0, 1, 1]
    assert (trace.user.tolist(), trace.loras.tolist(), len(trace)) == ([0, 1, 1], [2, 0, 0], 3)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("2024-11-15 16:58:00", "2024-13-15 16:58:00", "line 5: gmt_create"),
        ("2024-11-15 16:58:00", "yesterday", "line 5: gmt_create is 'yesterday'"),
        ("SUCCEED,10", "SUCCEED,-1", "exec_time_seconds is -1"),
        ("num_lora", "loras", "no column num_lora"),
    ],
)
def test_requests_that_cannot_be_are_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_genai(written(tmp_path, GENAI.replace(old, new)))


def test_a_trace_of_which_nothing_ended_is_refused(tmp_path: Path) -> None:
    text = GENAI.replace("SUCCEED", "PENDING").replace("FAILED", "PENDING")
    with pytest.raises(InvalidInput, match="no request whose predict_status"):
        read_genai(written(tmp_path, text))


def test_requests_wait_for_their_checkpoint_once(tmp_path: Path) -> None:
    nodes = gpu_worlds.with_caches(gpu_worlds.gpu_nodes(np.array([1])), 10, 1.0)
    world = gpu_worlds.genai_world(read_genai(written(tmp_path, GENAI)), 0, 3, nodes, checkpoint_bytes=7)
    state = new_state(world)
    run_queue(world, state, int(Rule.FCFS), False)
    assert state.ends.tolist() == [0 + 7 + 4, 11 + 7 + 32, 50 + 10]
    with pytest.raises(InvalidInput, match="need a GPU"):
        gpu_worlds.genai_world(
            read_genai(tmp_path / "trace"), 0, 3, gpu_worlds.gpu_nodes(np.zeros(1, np.int64))
        )


def test_spot_nodes_are_read(tmp_path: Path) -> None:
    nodes = read_spot_nodes(written(tmp_path, SPOT))
    assert (nodes.names, nodes.models, nodes.model.tolist()) == (("a", "b", "c"), ("A10", "H800"), [1, 0, -1])
    cluster = gpu_worlds.spot_cluster(nodes)
    assert cluster.capacity[:, 0].tolist() == [192_000, 128_000, 64_000]
    assert (cluster.gpus.tolist(), len(nodes)) == ([8, 1, 0], 3)


@pytest.mark.parametrize(
    ("row", "says"),
    [("A10,1,9,a", "'a' is named twice"), (",1,9,d", "have no model"), ("A10,99,9,d", "gpu_capacity_num")],
)
def test_spot_nodes_that_cannot_be_are_refused(tmp_path: Path, row: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_spot_nodes(written(tmp_path, SPOT + row + "\n"))


def test_more_models_than_are_told_apart_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"M{at},1,9,n{at}\n" for at in range(70))
    with pytest.raises(InvalidInput, match="names 72 models"):
        read_spot_nodes(written(tmp_path, SPOT + rows))


def gavels(tmp_path: Path) -> GavelTable:
    return read_gavel(written(tmp_path, json.dumps(GAVEL)))


def test_throughputs_are_read_alone_and_side_by_side(tmp_path: Path) -> None:
    table = gavels(tmp_path)
    assert (table.models, table.kinds) == (
        ("k80", "v100"),
        (Kind("CycleGAN", 2), Kind("LM (batch size 5)", 1)),
    )
    assert table.alone.tolist() == [[0, 5], [2, 8]]
    assert table.beside[1, 1, 1] == 3
    assert np.isnan(table.beside[0]).all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "is no table of throughputs"),
        ('{"k80": 3}', "is no table of throughputs"),
        ('{"k80": {}}', "0 kinds of training"),
        ('{"k80":\n {"x": {}}', "line 2: .*expected JSON"),
        ('{"k80": {"LM": {"null": 1}}}', "has a kind 'LM'"),
        ('{"k80": {"(\'LM\', 0)": {"null": 1}}}', "has a kind"),
        ('{"k80": {"(\'LM\', 1)": {"null": NaN}}}', "NaN is no throughput"),
        ('{"k80": {"(\'LM\', 1)": {"null": -1}}}', "LM.*null is -1; expected steps"),
        ('{"k80": {"(\'LM\', 1)": {"null": 1e999}}}', "inf; expected steps"),
        ('{"k80": {"(\'LM\', 1)": {"null": true}}}', "True; expected steps"),
        ('{"k80": {"(\'LM\', 1)": {"(\'LM\', 1)": [1]}}}', "expected steps a second of both"),
        ("[" * 100_000, "expected a table"),
        ("9" * 10_000, "expected a table|is no table"),
    ],
)
def test_throughputs_that_cannot_be_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_gavel(written(tmp_path, text))


def test_throughputs_that_are_no_text_or_too_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace"
    path.write_bytes(b'{"\xff": 1}')
    with pytest.raises(Corrupted, match="damaged"):
        read_gavel(path)
    monkeypatch.setattr(gavel, "MAX_BYTES", 5)
    with pytest.raises(InvalidInput, match="MiB"):
        read_gavel(path)


def test_kinds_run_as_fast_as_was_measured(tmp_path: Path) -> None:
    table = gavels(tmp_path)
    assert gpu_worlds.gavel_speeds(table, ("v100", "k80"), "k80").tolist() == [[1, 0, 0], [4, 1, 0]]
    with pytest.raises(InvalidInput, match="no throughputs of a100; there are k80, v100"):
        gpu_worlds.gavel_speeds(table, ("a100",), "k80")
    world = gpu_worlds.gavel_world(
        table, [("k80", 1, 2), ("v100", 1, 2)], "v100",
        np.array([1, 0, 0]), np.zeros(3), np.full(3, 100.0),
    )  # fmt: skip
    state = new_state(world)
    run_queue(world, state, int(Rule.FCFS), False)
    assert state.node.tolist() == [0, 1, 1]
    assert state.ends.tolist() == [400, 100, 200]
    assert state.marks[DROPPED] == 0
