"""Comparing policies by name, on every log and list on which all of them can run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farlane.errors import InvalidInput, NotFound
from farlane.lab.evaluation.report.tables import bounds, gained, number
from farlane.lab.evaluation.rivals import Kind, Policy, policy_named
from farlane.lab.evaluation.running import Progress, run_contest
from farlane.lab.evaluation.settings import Setting, held_out, packing
from farlane.lab.evaluation.sources import check_directory, find_lists, find_logs, find_nodes
from farlane.lab.evaluation.standings import Line, Standing, standing
from farlane.lab.published import SEQUENCE_JOBS

HEADS = ("SETTING", "A", "B", "MEAN A", "MEAN B", "A AGAINST B", "95 %", "WON : LOST", "VERDICT")


def compare_policies(
    names: Sequence[str],
    directory: Path,
    *,
    sequences: int,
    orders: int,
    length: int = SEQUENCE_JOBS,
    cache: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Standing, ...]:
    """Compare each policy with those behind it, wherever all can run.

    Args:
        names: at least two, see `rivals.policy_named`.
        directory: of traces.
        sequences: of each log, held out of the training of any policy that keeps to `splits`.
        orders: of arrival of each list.
        length: jobs of a sequence.
        cache: see `run_contest`.
        workers: see there.
        progress: see there.

    Raises:
        NotFound: no such policy, checkpoint or trace.
        InvalidInput: the same policy twice, or policies that have no setting in common.
    """
    check_directory(directory)
    if len(set(names)) < len(names) or len(names) < 2:
        raise InvalidInput(f"expected different policies to compare, got {', '.join(names)}")
    entries = _entries(names, directory, sequences, orders, length)
    results = run_contest(entries, cache=cache, workers=workers, progress=progress)
    return tuple(
        standing(results, setting, policies[at].name, [other.name for other in policies[at + 1 :]])
        for setting, policies in entries
        for at in range(len(policies) - 1)
    )


def row(each: Standing, line: Line) -> list[str]:
    """Return the cells of `HEADS`: slowdowns and their ratio, or allocations in percent and points gained."""
    packed = each.kind is Kind.PACKING
    means = [f"{100.0 - mean:.2f}" if packed else number(mean) for mean in (each.mean, line.mean)]
    gap = gained(line.gap) if packed else line.gap
    value = f"{gap.value:+.2f}" if packed else f"{gap.value:.3f}"
    won = f"{line.signs.below} : {line.signs.above}"
    return [
        each.setting, each.ours, line.rival, *means, value, bounds(gap, sign="+" if packed else ""), won,
        str(line.verdict),
    ]  # fmt: skip


def _entries(
    names: Sequence[str], directory: Path, sequences: int, orders: int, length: int
) -> list[tuple[Setting, tuple[Policy, ...]]]:
    entries: list[tuple[Setting, tuple[Policy, ...]]] = []
    failures: list[NotFound] = []
    for kind in Kind:
        try:
            policies = tuple(policy_named(kind, name) for name in names)
        except NotFound as error:
            failures.append(error)
            continue
        settings: list[Setting] = []
        if kind is Kind.QUEUE:
            logs = find_logs(directory)
            settings += [
                held_out(log, passes, count=sequences, length=length)
                for log in logs
                for passes in (False, True)
            ]
        else:
            lists = find_lists(directory)
            settings += [packing(found, find_nodes(directory), count=orders) for found in lists]
        entries += [(setting, policies) for setting in settings]
    if len(failures) == len(Kind):
        raise failures[0]
    if not entries:
        raise InvalidInput(f"{directory} has no trace on which {' and '.join(names)} could both run")
    return entries
