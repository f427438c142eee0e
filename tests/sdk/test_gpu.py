"""GPU requests in every form people write, and in forms they should not."""

from __future__ import annotations

import pytest

from farlane.domain.resources import GpuRequest
from farlane.errors import InvalidJob
from farlane.sdk.gpu import gpu_text, parse_gpu

GB = 10**9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A100:1", GpuRequest(1, "A100")),
        ("H100", GpuRequest(1, "H100")),
        ("a100:2", GpuRequest(2, "A100")),
        ("24GB", GpuRequest(1, None, 24 * GB)),
        ("24GB..", GpuRequest(1, None, 24 * GB)),
        ("24 GiB", GpuRequest(1, None, 24 << 30)),
        ("24GB:4", GpuRequest(4, None, 24 * GB)),
        ("2", GpuRequest(2)),
        (2, GpuRequest(2)),
        ("A100-80GB:2", GpuRequest(2, "A100", 80 * GB)),
        ("A100:80GB:2", GpuRequest(2, "A100", 80 * GB)),
        ("A100-80GB..", GpuRequest(1, "A100", 80 * GB)),
        ("RTX 4090:1", GpuRequest(1, "RTX 4090")),
        (" A100 : 1 ", GpuRequest(1, "A100")),
        ("0", None),
        (0, None),
        ("", None),
        (None, None),
    ],
)
def test_a_gpu_request_is_read(text: str | int | None, expected: GpuRequest | None) -> None:
    assert parse_gpu(text) == expected


@pytest.mark.parametrize(
    "text", ["A100:H100", "24GB:48GB", "24GB..48GB", "1:2", "-1", "A100:-1", "$", ":", True]
)
def test_what_is_no_gpu_request_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidJob, match=r"cannot be read; expected .*'A100:1'"):
        parse_gpu(text)


def test_too_many_gpus_are_refused_with_the_range() -> None:
    with pytest.raises(InvalidJob, match="4090 devices; expected 1 to 1024"):
        parse_gpu("4090")


@pytest.mark.parametrize("text", ["A100:1", "24GB:2", "A100-80GB:2", "3"])
def test_the_text_of_a_request_reads_as_the_same_request(text: str) -> None:
    request = parse_gpu(text)
    assert request is not None
    assert parse_gpu(gpu_text(request)) == request
