"""Reading the lists of Alibaba's GPU cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.errors import InvalidInput
from farlane.lab.traces.openb import read_nodes, read_pods
from farlane.scheduler.sim.world import ANY_GPU

NODES = "sn,cpu_milli,memory_mib,gpu,model\na,64000,262144,2,P100\nb,96000,1000,0,\nc,32000,1000,8,A10\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "list.csv"
    path.write_text(text)
    return path


def test_nodes_are_read_with_the_models_of_their_gpus(tmp_path: Path) -> None:
    nodes = read_nodes(written(tmp_path, NODES))
    assert nodes.models == ("A10", "P100")
    assert nodes.model.tolist() == [1, -1, 0]
    assert nodes.gpus.tolist() == [2, 0, 8]


def test_tasks_are_read_with_shares_and_models(tmp_path: Path) -> None:
    rows = "x,1000,10,1,460,,LS\ny,2000,10,4,1000,A10|P100,BE\nz,500,10,0,0,,BE\nw,1,1,1,1000,H999,BE\n"
    pods = read_pods(written(tmp_path, PODS + rows), ("A10", "P100"))
    assert pods.gpu_milli.tolist() == [460, 1000, 0, 1000]
    assert pods.gpu_total.tolist() == [460, 4000, 0, 1000]
    assert pods.gpu_models.tolist() == [ANY_GPU, 0b11, ANY_GPU, 0]


def test_lists_that_name_no_models_take_any(tmp_path: Path) -> None:
    text = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\nx,1000,10,1,460\n"
    assert read_pods(written(tmp_path, text), ("A10",)).gpu_models.tolist() == [ANY_GPU]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sn,cpu_milli\na,1\n", "no column memory_mib, gpu, model"),
        ("sn,cpu_milli,memory_mib,gpu,model\n", "header and no row"),
        (NODES + "d,1,1,17,P100\n", "line 5: gpu is 17; expected 0 to 16"),
        (NODES + "d,-1,1,1,P100\n", "cpu_milli is -1"),
        (NODES + "d,x,1,1,P100\n", "cpu_milli is 'x'"),
        (NODES + "d,1\n", "line 5: fields are missing"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_nodes(written(tmp_path, text))
