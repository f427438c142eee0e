"""The decision log: what was decided, how likely that was and what shadow rules would have done, as lines of JSON.

Files `decisions-000001.jsonl` and on lie in one folder; a new one begins when the last is full, and the oldest goes.
The names of a policy's features stand on a file's first line that has any, and again where they change. This module
alone knows the format: it writes lines and reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farlane.errors import Corrupted, NotFound

FORMAT = 1
PREFIX, SUFFIX = "decisions-", ".jsonl"
FILES = 8
"""Files that share the log's bytes."""


FEATURES = (
    "priority", "waited_s", "tasks", "run_time_s", "timeout_s", "cpu_milli", "memory_bytes", "free_cpu_share",
    "free_memory_share", "price_nano_s",
)  # fmt: skip
"""What every placement tells of its tasks and its node, whoever made it; -1 for a run time that nobody knows."""


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """Tasks of one job that a shadow rule would have sent to one node.

    demand: which alternative of what a task may take; features: as `FEATURES` names them.
    """

    job: int
    node: str
    count: int
    demand: int
    features: tuple[float, ...]


class Chosen(msgspec.Struct, frozen=True, array_like=True):
    """A placement that was made or proposed.

    features: as `FEATURES` names them; score: how the policy rated it, 0 where a rule chose; propensity: how likely it
    was to be chosen, in (0, 1], 1 where a rule chose; own: what the policy itself looked at, as `LoggedDecision.names`
    names it, empty where a rule chose.
    """

    job: int
    node: str
    count: int
    demand: int
    features: tuple[float, ...]
    score: float = 0.0
    propensity: float = 1.0
    own: tuple[float, ...] = ()


class LoggedDecision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision that was applied.

    time: unix seconds; view: digest of what was decided on, equal for equal views; who: `policy` or `rule`; why: as
    in `guard.Why`; policy: its name; nodes, groups, waiting: how many nodes, groups and ready tasks the view had;
    chosen: what was done; proposed: what the policy said where the rule decided in its place; shadows: what each shadow
    rule would have done on the same view; names: of the policy's own features; drift, disagreement: what it said of
    itself; more: placements left out of `chosen` since there were too many.
    """

    time: float
    view: str
    who: str
    why: str
    policy: str
    nodes: int
    groups: int
    waiting: int
    chosen: tuple[Chosen, ...]
    proposed: tuple[Chosen, ...] = ()
    shadows: dict[str, tuple[Sent, ...]] = {}
    names: tuple[str, ...] = ()
    drift: float = 0.0
    disagreement: float = 0.0
    more: int = 0
    format: int = FORMAT


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(LoggedDecision)


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of a log and its number."""

    number: int
    path: Path


def log_files(folder: Path) -> list[LogFile]:
    """Return the files of a log, the oldest first."""
    found = []
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        number = path.name[len(PREFIX) : -len(SUFFIX)]
        if number.isdigit():
            found.append(LogFile(int(number), path))
    return sorted(found, key=lambda file: file.number)


def read_decisions(path: Path) -> Iterator[LoggedDecision]:
    """Yield the decisions of a log's folder, or of one of its files, the oldest first.

    A line that was cut off while it was written, at the end of a file, is passed over.

    Raises:
        NotFound: there is no such folder or file.
        Corrupted: a line is none of this log; the message names it.
    """
    if path.is_dir():
        for file in log_files(path):
            yield from _read(file.path)
    elif path.is_file():
        yield from _read(path)
    else:
        raise NotFound(
            f"no decision log at {path}; a hub keeps one in `decisions` below its directory", path=str(path)
        )


def _read(path: Path) -> Iterator[LoggedDecision]:
    names: tuple[str, ...] = ()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                found = _DECODER.decode(line)
            except msgspec.DecodeError as error:
                raise Corrupted(f"{path}, line {number} is no decision: {error}") from error
            if found.format != FORMAT:
                raise Corrupted(
                    f"{path}, line {number} has format {found.format}; this version reads {FORMAT}"
                )
            names = found.names or names
            yield msgspec.structs.replace(found, names=names) if _has_own(found) else found


def _has_own(decision: LoggedDecision) -> bool:
    return any(each.own for each in (*decision.chosen, *decision.proposed))


class DecisionWriter:
    """Appends decisions to a log. It blocks: call it from a thread of its own.

    Args:
        folder: of the log; made where it is not there.
        max_bytes: of all files together.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._file_bytes = max(4096, max_bytes // FILES)
        folder.mkdir(parents=True, exist_ok=True)
        known = log_files(folder)
        # A new file each time: the last one may end in half a line.
        self._number = known[-1].number + 1 if known else 1
        self._written = 0
        self._names: tuple[str, ...] = ()

    def write(self, decision: LoggedDecision) -> None:
        """Append one decision.

        Raises:
            OSError: it cannot be written.
        """
        line = self._line(decision)
        if self._written and self._written + len(line) > self._file_bytes:
            self._number += 1
            self._written, self._names = 0, ()
            line = self._line(decision)
        if not self._written:
            self._drop_oldest()
        self._names = decision.names or self._names
        with self._path().open("ab") as file:
            file.write(line)
        self._written += len(line)

    def _line(self, decision: LoggedDecision) -> bytes:
        """Return a line; names of features stand only where a file has others before it, or none."""
        if decision.names == self._names:
            decision = msgspec.structs.replace(decision, names=())
        return _ENCODER.encode(decision) + b"\n"

    def _path(self) -> Path:
        return self._folder / f"{PREFIX}{self._number:06d}{SUFFIX}"

    def _drop_oldest(self) -> None:
        for file in log_files(self._folder)[: -FILES + 1]:
            file.path.unlink(missing_ok=True)
