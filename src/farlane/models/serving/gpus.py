"""The GPUs that this process may use."""

from __future__ import annotations

import os

VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Numbers or names of devices; empty hides all."""


def gpus_environment(gpus: tuple[int, ...]) -> dict[str, str]:
    """Return what a process's environment must have so that it sees these devices alone, none where there are none."""
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # the order in which NVML counts them
    return order | {VARIABLE: ",".join(map(str, gpus))}


def visible_gpus() -> int:
    """Count NVIDIA's devices as far as this process may see them."""
    named = os.environ.get(VARIABLE)
    if named is None:
        return _devices()
    return sum(bool(each.strip()) and each.strip() != "-1" for each in named.split(","))


def _devices() -> int:
    try:
        import pynvml
    except ImportError:
        return 0
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
