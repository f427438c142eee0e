"""Running many policies on many cases: in processes of their own, and never the same one twice.

What a run came to is kept by the digest of everything it follows from: the trace's bytes, the case, the policy, and the
source of the simulator.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

import farlane
from farlane.errors import NotFound
from farlane.lab.evaluation.rivals import Policy
from farlane.lab.evaluation.runs import Outcome
from farlane.lab.evaluation.settings import QueueSetting, Setting
from farlane.scheduler.sim.world import Floats

_SOURCES = (
    "scheduler/sim/*.py", "scheduler/learned/features.py", "scheduler/learned/network.py", "lab/worlds.py",
    "lab/published.py", "lab/traces/*.py", "lab/evaluation/runs.py",
)  # fmt: skip
"""Code that decides what a run comes to, below the package."""

Progress = Callable[[int, int, str], None]
"""Called with how many cases are done, how many there are, and the setting of the last one."""


@dataclass(frozen=True)
class Results:
    """What each policy came to in each case of each setting; keys are a setting's title and a policy's name."""

    outcomes: Mapping[tuple[str, str], Sequence[Outcome]]

    def column(self, setting: Setting, policy: str, number: str | None = None) -> Floats:
        """Return one number of all cases, (cases,): the one that counts, or a named one.

        Raises:
            NotFound: that policy did not run there.
        """
        key = (setting.title, policy)
        if key not in self.outcomes:
            raise NotFound(f"{policy} did not run in {setting.title}")
        name = number or setting.counts
        return np.array([outcome.numbers[name] for outcome in self.outcomes[key]])

    def policies(self, setting: Setting) -> list[str]:
        """Return the names of those that ran in a setting."""
        return [name for title, name in self.outcomes if title == setting.title]


def run_contest(
    entries: Sequence[tuple[Setting, Sequence[Policy]]],
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Results:
    """Run policies in settings, each with the policies that compete there.

    Args:
        entries: settings with different titles, and who competes.
        cache: a directory in which outcomes are kept; None: nowhere.
        workers: processes; 1: this one.
        progress: told of each case that is done.

    Raises:
        Whatever reading the traces raises.
    """
    known = _Kept(cache)
    found: dict[tuple[str, str, int], Outcome] = {}
    missing: list[tuple[int, int, tuple[int, ...]]] = []
    for row, (setting, policies) in enumerate(entries):
        for at in range(len(setting)):
            absent = []
            for column, policy in enumerate(policies):
                outcome = known.get(_key(setting, at, policy))
                if outcome is None:
                    absent.append(column)
                else:
                    found[setting.title, policy.name, at] = outcome
            if absent:
                missing.append((row, at, tuple(absent)))
    jobs = [
        (entries[row][0], at, tuple(entries[row][1][column] for column in columns))
        for row, at, columns in missing
    ]
    for done, (setting, at, policies, outcomes) in enumerate(_all(jobs, workers), start=1):
        for policy, outcome in zip(policies, outcomes, strict=True):
            found[setting.title, policy.name, at] = outcome
            known.keep(_key(setting, at, policy), outcome)
        if progress is not None:
            progress(done, len(jobs), setting.title)
    return Results(
        {
            (setting.title, policy.name): [
                found[setting.title, policy.name, at] for at in range(len(setting))
            ]
            for setting, policies in entries
            for policy in policies
        }
    )


_Job = tuple[Setting, int, tuple[Policy, ...]]


def _all(
    jobs: Sequence[_Job], workers: int
) -> Iterable[tuple[Setting, int, tuple[Policy, ...], list[Outcome]]]:
    """Yield jobs as they are done."""
    workers = min(workers, len(jobs))
    if workers <= 1:
        for setting, at, policies in jobs:
            yield setting, at, policies, setting.run(at, policies)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(_run, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                yield *waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run(job: _Job) -> list[Outcome]:
    setting, at, policies = job
    return setting.run(at, policies)


def _key(setting: Setting, at: int, policy: Policy) -> str:
    """Return the digest of everything an outcome follows from."""
    if isinstance(setting, QueueSetting):
        case = [
            setting.kind,
            _file_digest(setting.path),
            setting.starts[at],
            setting.length,
            setting.backfill,
        ]
    else:
        files = (_file_digest(setting.path), _file_digest(setting.nodes))
        case = [setting.kind, *files, setting.seeds[at]]
    return hashlib.sha256(json.dumps([_code_digest(), policy.digest, *case]).encode()).hexdigest()


@lru_cache(maxsize=64)
def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise NotFound(f"cannot read the trace {path}: {error.strerror}") from error


@lru_cache(maxsize=1)
def _code_digest() -> str:
    root, digest = Path(farlane.__file__).parent, hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(root.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class _Kept:
    """Outcomes in a file of one JSON object a line; a line that is cut off or foreign is as if it were not there."""

    def __init__(self, directory: Path | None) -> None:
        self._outcomes: dict[str, Outcome] = {}
        self._path = None if directory is None else directory / "outcomes.jsonl"
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.is_file():
            for line in self._path.read_text(errors="replace").splitlines():
                self._read(line)

    def get(self, key: str) -> Outcome | None:
        return self._outcomes.get(key)

    def keep(self, key: str, outcome: Outcome) -> None:
        if self._path is not None:
            line = json.dumps({"key": key, **outcome.as_json()})
            with self._path.open("a") as file:
                file.write(f"\n{line}\n")  # a line that was cut off before ends here

    def _read(self, line: str) -> None:
        try:
            fields = json.loads(line)
            self._outcomes[fields["key"]] = Outcome.from_json(fields)
        except (ValueError, KeyError, TypeError):
            return


def workers_here() -> int:
    """Return how many processes this machine can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
