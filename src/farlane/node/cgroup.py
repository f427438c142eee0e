"""What control groups allow this process: CPU quota and memory limit, in version 1, version 2 and mixed set-ups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED_BYTES = 1 << 60
"""Version 1 says "no limit" with a number near 2**63."""


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """Limits of this process; None where there is none. CPU in thousandths of a core."""

    cpu_milli: int | None
    memory_bytes: int | None


def read_cgroup_limits(root: Path = Path("/")) -> CgroupLimits:
    """Return the tightest limits over this process's groups and all groups above them.

    Args:
        root: where /proc and /sys lie; tests give recorded trees.
    """
    cpu: list[int] = []
    memory: list[int] = []
    for controllers, path in _memberships(root / "proc/self/cgroup"):
        mount = root / "sys/fs/cgroup"
        if not controllers:
            for group in _upwards(mount, path):
                cpu += _cpu_of_v2(group / "cpu.max")
                memory += _number(group / "memory.max")
        if "cpu" in controllers:
            for group in _upwards(_mounted(mount, "cpu", controllers), path):
                cpu += _cpu_of_v1(group)
        if "memory" in controllers:
            for group in _upwards(_mounted(mount, "memory", controllers), path):
                memory += _number(group / "memory.limit_in_bytes")
    limits = [limit for limit in memory if limit < _UNLIMITED_BYTES]
    return CgroupLimits(min(cpu, default=None), min(limits, default=None))


def _memberships(file: Path) -> Iterator[tuple[list[str], PurePosixPath]]:
    """Yield (controllers, path) of each hierarchy; no controllers means version 2."""
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            yield ([name for name in controllers.split(",") if name], PurePosixPath(path))


def _mounted(mount: Path, controller: str, controllers: list[str]) -> Path:
    joined = mount / ",".join(controllers)
    return joined if joined.is_dir() else mount / controller


def _upwards(mount: Path, path: PurePosixPath) -> Iterator[Path]:
    # Inside a container the path may be the host's and not exist here; the mount itself is then the group.
    for part in (path, *path.parents):
        yield mount / part.relative_to("/")


def _cpu_of_v2(file: Path) -> list[int]:
    with contextlib.suppress(OSError, ValueError):
        quota, period = file.read_text().split()
        return [_milli(int(quota), int(period))]
    return []


def _cpu_of_v1(group: Path) -> list[int]:
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return [_milli(quota[0], period[0])] if quota and period and quota[0] > 0 and period[0] > 0 else []


def _milli(quota: int, period: int) -> int:
    return max(1, quota * 1000 // period)


def _number(file: Path) -> list[int]:
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        return [int(file.read_text())]
    return []
