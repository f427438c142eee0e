"""An assessment: all that is measured of one policy on the traces of a directory, ready to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from farlane.lab.evaluation.ablations import ablated
from farlane.lab.evaluation.latency import Latency, latencies
from farlane.lab.evaluation.rivals import Kind, LearnedPolicy, Policy, members_of, rules_of
from farlane.lab.evaluation.running import Progress, Results, run_contest
from farlane.lab.evaluation.settings import (
    QueueSetting,
    Setting,
    for_choosing,
    held_out,
    packing,
    published,
)
from farlane.lab.evaluation.sources import (
    LOG_NAMES,
    Found,
    check_directory,
    digests,
    find_lists,
    find_logs,
    find_nodes,
)
from farlane.lab.evaluation.splits import SEQUENCES
from farlane.lab.evaluation.standings import Standing, best_of, standing
from farlane.lab.evaluation.toys import Gaps, gaps
from farlane.lab.published import SEQUENCE_JOBS
from farlane.scheduler.learned.checkpoint import Checkpoint
from farlane.scheduler.learned.manifest import Manifest

OURS = "farlane"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    sequences: of each log; orders: of arrival of each list; ablation_sequences: of each log, without each thing in
    turn, 0 for none of that; tables: whether the published protocol runs too; length: jobs of a held-out sequence;
    toys: instances whose optimum is known; rounds: of which decision latency is told.
    """

    sequences: int = SEQUENCES
    orders: int = 10
    ablation_sequences: int = 10
    tables: bool = True
    length: int = SEQUENCE_JOBS
    toys: int = 50
    rounds: int = 200


@dataclass(frozen=True, slots=True)
class Ablated:
    """One ablation: name of the policy, and by setting's title its mean cost over that of the whole policy."""

    policy: str
    ratios: dict[str, float]


@dataclass(frozen=True)
class Assessment:
    """What was measured: standings on held-out sequences, on lists, by the published protocol, and so on.

    seen: names of logs of which the weights may have seen other jobs; entries, results: for plots.
    """

    manifest: Manifest
    bytes: int
    held_out: tuple[Standing, ...]
    lists: tuple[Standing, ...]
    tables: tuple[Standing, ...]
    ablations: tuple[Ablated, ...]
    latency: tuple[Latency, ...]
    toys: Gaps | None
    seen: tuple[str, ...]
    entries: tuple[tuple[Setting, tuple[Policy, ...]], ...]
    results: Results


def trained_on(manifest: Manifest, found: Found) -> bool:
    """Tell whether weights may have been trained on a log; yes where their manifest names no data at all."""
    if not manifest.training:
        return True
    known = digests(found.path)
    stem = found.path.name.split(".")[0].lower()
    return any(source.sha256 in known or stem in source.name.lower() for source in manifest.training)


def assess(
    checkpoint: Checkpoint,
    size_bytes: int,
    directory: Path,
    extent: Extent,
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Assessment:
    """Measure a checkpoint on every log and list of a directory.

    Raises:
        NotFound: there are no traces; whatever reading them raises.
    """
    check_directory(directory)
    members, logs, lists = members_of(checkpoint), find_logs(directory), find_lists(directory)
    ours = LearnedPolicy.of(OURS, members)
    seen = tuple(log.name for log in logs if trained_on(checkpoint.manifest, log))
    judged, tables, choosing = _queues(logs, seen, extent)
    nodes = find_nodes(directory) if lists else directory
    packed = [packing(found, nodes, count=extent.orders) for found in lists]
    queue_rules, packing_rules = rules_of(Kind.QUEUE), rules_of(Kind.PACKING)
    entries: list[tuple[Setting, tuple[Policy, ...]]] = []
    entries += [(setting, (ours, *queue_rules)) for setting in (*judged, *tables)]
    entries += [(setting, queue_rules) for setting in choosing]
    entries += [(setting, (ours, *packing_rules)) for setting in packed]
    results = run_contest(entries, cache=cache, workers=workers, progress=progress)
    rules, packers = [rule.name for rule in queue_rules], [rule.name for rule in packing_rules]
    chosen = {(each.name, each.backfill): best_of(results, each, rules) for each in choosing}
    taken_away: list[Setting] = []
    if extent.ablation_sequences:
        taken_away = [_fewer(each, extent.ablation_sequences) for each in judged]
        taken_away += [replace(each, seeds=each.seeds[:2]) for each in packed]
    lesser = ablated(OURS, members, _means(checkpoint.manifest))
    return Assessment(
        manifest=checkpoint.manifest,
        bytes=size_bytes,
        held_out=tuple(
            standing(results, each, OURS, rules, chosen.get((each.name, each.backfill), ""))
            for each in judged
        ),
        lists=tuple(standing(results, each, OURS, packers) for each in packed),
        tables=tuple(standing(results, each, OURS, rules) for each in tables),
        ablations=_without(ours, lesser, taken_away, cache, workers, progress),
        latency=tuple(latencies(members, rounds=extent.rounds)),
        toys=gaps(ours, instances=extent.toys) if extent.toys else None,
        seen=seen,
        entries=tuple(entries),
        results=results,
    )


def _queues(
    logs: Sequence[Found], seen: Sequence[str], extent: Extent
) -> tuple[list[QueueSetting], list[QueueSetting], list[QueueSetting]]:
    """Return settings for judging, by the published protocol, and for choosing a rule; without and with backfill."""
    judged, tables, choosing = [], [], []
    for log in logs:
        unseen = log.name not in seen
        for backfill in (False, True):
            judged.append(
                held_out(log, backfill, count=extent.sequences, length=extent.length, unseen=unseen)
            )
            if extent.tables and log.path.name.split(".swf")[0] in LOG_NAMES:
                tables.append(published(log, backfill))
            if not unseen:
                choosing.append(for_choosing(log, backfill, extent.length))
    return judged, tables, choosing


def _without(
    ours: LearnedPolicy,
    lesser: Sequence[LearnedPolicy],
    settings: Sequence[Setting],
    cache: Path | None,
    workers: int,
    progress: Progress | None,
) -> tuple[Ablated, ...]:
    """Run ablations, and return what each costs."""
    if not settings:
        return ()
    entries = [(setting, (ours, *lesser)) for setting in settings]
    results = run_contest(entries, cache=cache, workers=workers, progress=progress)
    whole = {setting.title: float(results.column(setting, ours.name).mean()) for setting in settings}
    return tuple(
        Ablated(
            each.name.removeprefix(f"{ours.name} ").removeprefix(f"{ours.name}, "),
            {
                setting.title: float(results.column(setting, each.name).mean())
                / max(whole[setting.title], 1e-9)
                for setting in settings
            },
        )
        for each in lesser
    )


def _fewer(setting: QueueSetting, count: int) -> QueueSetting:
    """Return a setting with so many of its sequences, evenly spread."""
    rows = np.unique(np.linspace(0, len(setting) - 1, min(count, len(setting))).round().astype(int))
    return replace(setting, starts=tuple(setting.starts[row] for row in rows.tolist()))


def _means(manifest: Manifest) -> dict[str, list[float]]:
    return {kind: [span.mean for span in spans] for kind, spans in manifest.spans.items()}
