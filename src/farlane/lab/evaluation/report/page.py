"""The page of a report: sections in the order in which a reader asks, plots inside, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from farlane.lab.evaluation.assessment import OURS, Assessment
from farlane.lab.evaluation.report import plots, tables, words
from farlane.lab.evaluation.report.drawing import BEST, OTHER
from farlane.lab.evaluation.report.drawing import OURS as OURS_COLOUR
from farlane.lab.evaluation.report.style import STYLE
from farlane.lab.evaluation.rivals import Policy
from farlane.lab.evaluation.runs import SLOWDOWN, WAIT, Outcome, queue_state
from farlane.lab.evaluation.settings import QueueSetting, Setting
from farlane.lab.evaluation.standings import Standing

_FIRST_COME = "FCFS"
_SHOWN_GAPS = 8
_SHOWN_PACKERS = ("RANDOM", "BEST_FIT", "FGD", words.PUBLISHED_FGD)


def page(assessment: Assessment, title: str) -> str:
    """Return a report as one HTML document.

    Raises:
        NotFound: matplotlib is not installed.
    """
    sections = [
        ("ratios", "Against the best rule", _ratios(assessment)),
        ("held-out", "Held-out sequences", _held_out(assessment)),
        ("packing", "Packing GPUs", _packing(assessment)),
        ("losses", "Where it loses", _losses(assessment)),
        ("distributions", "Who waits how long", _distributions(assessment)),
        ("sequence", "One sequence", _sequence(assessment)),
        ("published", "The published protocol", _published(assessment)),
        ("ablations", "What each input is worth", _ablations(assessment)),
        ("toys", "Beside the optimum", _toys(assessment)),
        ("latency", "Decision latency", _latency(assessment)),
        ("checkpoint", "The checkpoint", _checkpoint(assessment)),
    ]
    kept = [(name, head, body) for name, head, body in sections if body]
    links = "".join(f'<a href="#{name}">{escape(head)}</a>' for name, head, _ in kept)
    bodies = "".join(
        f'<section id="{name}"><h2>{escape(head)}</h2>{body}</section>' for name, head, body in kept
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f'<p class="lead">{escape(words.headline(assessment))}</p><nav>{links}</nav>{bodies}'
        "<footer><p>Lower slowdown is better. Intervals are paired bootstrap intervals (BCa, 95 %, 10,000 "
        "resamples over "
        "sequences). The best rule in hindsight is chosen on the very sequences that are judged, which favours the "
        "rule.</p></footer></main></body></html>\n"
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _ratios(assessment: Assessment) -> str:
    if not assessment.held_out:
        return ""
    return _figure(
        plots.ratios(assessment.held_out),
        "Each line is a trace that the weights were not trained on, or stretches of one that they were not "
        "trained on. "
        "Dots: the ratio of the average slowdowns, ours to that of the rule in brackets, with its interval. "
        "Diamonds: the "
        "typical ratio of one sequence. Left of 1 ours is better; an interval that reaches 1 does not show a "
        "difference.",
    )


def _held_out(assessment: Assessment) -> str:
    if not assessment.held_out:
        return ""
    rows = [tables.standing_row(each) for each in assessment.held_out]
    chosen = [
        tables.standing_row(each, line)
        for each in assessment.held_out
        if each.chosen and (line := each.line(each.chosen)) is not None
    ]
    text = "<p>Average bounded slowdown of 1,024 jobs, against the rule that is best in hindsight.</p>"
    text += f'<div class="card">{tables.html_table(tables.STANDING_HEADS, rows)}</div>'
    if chosen:
        heads = [
            head.replace("best rule in hindsight", "rule chosen beforehand") for head in tables.STANDING_HEADS
        ]
        text += (
            "<p>Nobody knows the best rule beforehand. Against the one that is best on other sequences of "
            "the same log, set "
            f'aside for that choice:</p><div class="card">{tables.html_table(heads, chosen)}</div>'
        )
    every = tables.all_rivals(assessment.held_out)
    return f'{text}<details><summary>All rules</summary><div class="card">{every}</div></details>'


def _packing(assessment: Assessment) -> str:
    if not assessment.lists:
        return ""
    rows = [tables.standing_row(each) for each in assessment.lists]
    return (
        "<p>GPU allocation once tasks that asked for 130 % of all GPUs have arrived. Ties of ours and of the "
        "rules go by "
        "chance, but for those named otherwise; FGD's published figures are of ties that go to the first node.</p>"
        + _figure(
            plots.allocations(assessment.lists, _SHOWN_PACKERS),
            "Each line is a list of tasks. Orange: the best rule there. Only `default` may be trained on.",
        )
        + f'<div class="card">{tables.html_table(tables.PACKING_HEADS, rows)}</div>'
        + f'<details><summary>All rules, GPU allocation in percent</summary><div class="card">'
        f"{tables.all_rivals(assessment.lists)}</div></details>"
    )


def _losses(assessment: Assessment) -> str:
    return f"<ul>{''.join(f'<li>{escape(each)}</li>' for each in words.losses(assessment))}</ul>"


def _distributions(assessment: Assessment) -> str:
    panels_by = {}
    for what in (SLOWDOWN, WAIT):
        panels_by[what] = [
            (each.setting, [(named, _outcomes(assessment, each, named[0])) for named in _names(each)])
            for each in assessment.held_out
        ]
    if not assessment.held_out:
        return ""
    return _figure(
        plots.distributions(SLOWDOWN, panels_by[SLOWDOWN], "bounded slowdown"),
        "Which share of jobs had at most so much slowdown, all held-out sequences together. The higher line "
        "is better; an "
        "average hides who pays for it, which is at the top right.",
    ) + _figure(
        plots.distributions(WAIT, panels_by[WAIT], "wait in seconds (1 and less at the left edge)"),
        "The same of waits.",
    )


def _sequence(assessment: Assessment) -> str:
    found = _typical(assessment)
    if found is None:
        return ""
    setting, at, each = found
    policies = {policy.name: policy for policy in _policies(assessment, setting)}
    world = setting.world(at)
    states = {name: queue_state(world, policies[name], setting.backfill) for name in (OURS, each.best.rival)}
    colours = {OURS: OURS_COLOUR, each.best.rival: BEST}
    return (
        f"<p>{escape(each.setting)}, sequence {at + 1} of {each.cases}: the one whose ratio to "
        f"{escape(each.best.rival)} is "
        "the median of all.</p>"
        + _figure(
            plots.schedules(world, list(states.items())),
            "Each box is a job: its width the time it ran, its height the processors it had. Boxes at the "
            "right end of the "
            "scale waited long for how short they are. What is empty is idle.",
        )
        + _figure(
            plots.busy(world, [((name, colours[name]), state) for name, state in states.items()]),
            "Above, which share of the processors is busy; below, how many jobs wait.",
        )
    )


def _published(assessment: Assessment) -> str:
    if not assessment.tables:
        return ""
    rows = [tables.standing_row(each) for each in assessment.tables]
    for row in rows:
        row[0] = row[0].removesuffix(", published protocol")
    return (
        "<p>Ten sequences of 1,024 jobs by RLScheduler's protocol (gym's seeds, seed 1). Ten are few and "
        "some share jobs: "
        "the intervals are narrower than they should be.</p>"
        f'<div class="card">{tables.html_table(tables.STANDING_HEADS, rows)}</div><details><summary>All '
        "rules</summary>"
        f'<div class="card">{tables.all_rivals(assessment.tables)}</div></details>'
    )


def _ablations(assessment: Assessment) -> str:
    if not assessment.ablations:
        return ""
    return (
        "<p>The same weights without something they look at: mean cost over that of the whole policy, on some of the "
        "held-out sequences. Above 1: it is missed. The weights were not trained again, so this tells what "
        "they use, not what "
        f'could be done without.</p><div class="card">{tables.ablation_table(assessment.ablations)}</div>'
    )


def _toys(assessment: Assessment) -> str:
    if assessment.toys is None:
        return ""
    text = (
        f"<p>{assessment.toys.instances} toy instances of each kind whose optimum is known exactly: seven "
        "jobs on one pool, "
        "average bounded slowdown over the least possible; nine tasks for five GPUs, the most that can be "
        "given away over what "
        "was. 1 is the optimum, which knows all that comes; in queues the chosen job holds up all others "
        "until it fits.</p>"
    )
    for what, found in (("queue", assessment.toys.queues), ("packing", assessment.toys.packings)):
        kept = [each for at, each in enumerate(found) if at < _SHOWN_GAPS or each.policy == OURS]
        rows = [[each.policy, f"{each.mean:.3f}", f"{each.worst:.2f}", str(each.optimal)] for each in kept]
        text += f'<div class="card">{tables.html_table((what, "mean ratio", "worst", "optimal"), rows)}</div>'
    return text


def _latency(assessment: Assessment) -> str:
    rows = [
        [f"{each.candidates:,}", *(f"{value:,.0f}" for value in (
            each.tasks_p50_us, each.tasks_p99_us, each.nodes_p50_us, each.nodes_p99_us,
        ))]
        for each in assessment.latency
    ]  # fmt: skip
    heads = ("candidates", "tasks, p50 µs", "tasks, p99 µs", "nodes, p50 µs", "nodes, p99 µs")
    return (
        "<p>Time to score so many tasks, or one task on so many nodes, in numpy on one core of the machine "
        "that wrote this "
        f'report; features not included.</p><div class="card">{tables.html_table(heads, rows)}</div>'
    )


def _checkpoint(assessment: Assessment) -> str:
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="left"><code>{escape(value)}</code></td></tr>'
        for name, value in tables.manifest_rows(assessment)
    )
    return f'<div class="card"><table>{rows}</table></div>'


def _names(each: Standing) -> list[plots.Named]:
    named = [(OURS, OURS_COLOUR), (each.best.rival, BEST)]
    return named if each.best.rival == _FIRST_COME else [*named, (_FIRST_COME, OTHER)]


def _outcomes(assessment: Assessment, each: Standing, policy: str) -> Sequence[Outcome]:
    return assessment.results.outcomes[each.setting, policy]


def _policies(assessment: Assessment, setting: Setting) -> Sequence[Policy]:
    return next(policies for found, policies in assessment.entries if found.title == setting.title)


def _typical(assessment: Assessment) -> tuple[QueueSetting, int, Standing] | None:
    """Return the first held-out setting and the sequence of the median ratio to the best rule there."""
    if not assessment.held_out:
        return None
    each = assessment.held_out[0]
    setting = next(found for found, _ in assessment.entries if found.title == each.setting)
    if not isinstance(setting, QueueSetting):
        return None
    ours, best = (assessment.results.column(setting, name) for name in (OURS, each.best.rival))
    order = np.argsort(ours / best, kind="stable")
    return setting, int(order[len(order) // 2]), each
