"""What the benchmarks of models compute themselves: names, made updates, and what they read out of metrics."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from bench.models.adding import cid_alone
from bench.models.real import write_tuned
from bench.models.swarm import bytes_from_hub
from bench.models.synthetic import write_safetensors

from farlane.models.blocks.describing import describe_file
from farlane.models.formats.sniff import inspect_file


@pytest.mark.parametrize("size_bytes", [1, 1 << 20, (3 << 20) + 77])
def test_the_cid_alone_is_the_one_that_a_file_gets(tmp_path: Path, size_bytes: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(Random(1).randbytes(size_bytes))
    assert cid_alone(path) == describe_file(path).dags[0].root.text


def test_only_what_is_picked_is_tuned(tmp_path: Path) -> None:
    names = ("layer.1.weight", "layer.2.weight")
    tensors = {name: np.arange(0x3F00, 0x3F40, dtype=np.uint16) for name in names}
    write_safetensors(tmp_path / "bf16", iter(tensors.items()), dict.fromkeys(names, (64,)), {})
    content = (tmp_path / "bf16").read_bytes().replace(b'"BF16","shape":[64]', b'"F32","shape":[32] ')
    (tmp_path / "base").write_bytes(content)
    write_tuned(tmp_path / "base", tmp_path / "tuned", lambda name: ".2." in name, 0.1)
    tuned = (tmp_path / "tuned").read_bytes()
    second = inspect_file(tmp_path / "base").tensors[1]
    assert tuned[: second.offset] == content[: second.offset]
    assert tuned[second.offset :] != content[second.offset :]


def test_bytes_from_the_hub_are_told_from_those_of_other_nodes() -> None:
    text = (
        '# TYPE farlane_node_model_bytes_total counter\nfarlane_node_model_bytes_total{source="peers"} 7.0\n'
        'farlane_node_model_bytes_total{source="hub"} 9.1647761e+07\n'
    )
    assert bytes_from_hub(text) == 91_647_761
    assert bytes_from_hub("") == 0
