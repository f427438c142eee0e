"""Assessments, ablations, comparisons and the page: everything is there, nothing is loaded, nothing is hidden."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import InvalidInput, NotFound
from farlane.lab.evaluation.ablations import ABLATIONS, ablated, without
from farlane.lab.evaluation.assessment import OURS, Assessment, Extent, assess, trained_on
from farlane.lab.evaluation.comparing import compare_policies, row
from farlane.lab.evaluation.report.plots import held, placed_rows
from farlane.lab.evaluation.report.words import losses
from farlane.lab.evaluation.report.written import write_report
from farlane.lab.evaluation.rivals import FEATURES, read_weights
from farlane.lab.evaluation.sources import find_logs
from farlane.lab.evaluation.statistics import Verdict
from farlane.scheduler.learned.manifest import Source
from farlane.scheduler.learned.network import SIZE, embeddings, pool, task_scores, unflatten
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.state import new_state
from farlane.testing.sim_worlds import pool as pool_of

SMALL = Extent(sequences=2, orders=2, ablation_sequences=1, tables=False, length=20, toys=1, rounds=2)


@pytest.fixture(scope="module")
def assessment(traces: Path, tmp_path_factory: pytest.TempPathFactory) -> Assessment:
    checkpoint, size = read_weights(None)
    return assess(checkpoint, size, traces, SMALL, cache=tmp_path_factory.mktemp("kept"))


def test_every_log_and_list_is_measured(assessment: Assessment) -> None:
    assert [each.setting for each in assessment.held_out] == [
        "Lublin-1", "Lublin-1, backfill", "other", "other, backfill",
    ]  # fmt: skip
    assert [each.setting for each in assessment.lists] == ["openb default", "openb other"]
    for each in (*assessment.held_out, *assessment.lists):
        means = [line.mean for line in each.lines]
        assert means == sorted(means)
        assert each.best.gap.low <= each.best.gap.value <= each.best.gap.high
        assert each.line(OURS) is None
    assert {each.policy for each in assessment.ablations} >= {f"without {one.name}" for one in ABLATIONS}


def test_the_page_has_all_of_it_and_loads_nothing(assessment: Assessment, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'farlane[lab]'")
    written = write_report(assessment, tmp_path / "report", "How <they> do")
    text = written.read_text()
    HTMLParser().feed(text)
    assert text.count("<svg") == 6
    assert "How &lt;they&gt; do" in text
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', text)
    assert not re.findall(r"url\((?!#)", text)
    assert not re.findall(
        r"#0[0-9a-c]0[0-9a-c]0[0-9a-c]\b", text
    )  # every stand-in became a colour of the page
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    for section in ("Where it loses", "What each input is worth", "Decision latency", "The checkpoint"):
        assert section in text
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert len(found["held_out"]) == 4
    assert found["lists"][0]["lines"][0]["verdict"] in list(Verdict)


def test_a_report_that_cannot_be_written_says_so(assessment: Assessment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="-o"):
        write_report(assessment, tmp_path / "file", "title")


def test_losses_are_admitted(assessment: Assessment) -> None:
    said = " ".join(losses(assessment))
    for each in (*assessment.held_out, *assessment.lists):
        assert (each.setting in said) or each.best.verdict is Verdict.BETTER


def test_logs_that_weights_were_trained_on_are_known(traces: Path) -> None:
    from dataclasses import replace

    manifest = read_weights(None)[0].manifest
    (first, second) = find_logs(traces)
    by_name = replace(manifest, training=(Source("lublin_256", ""),))
    assert trained_on(by_name, first)
    assert not trained_on(by_name, second)
    assert trained_on(replace(manifest, training=()), second)


@pytest.mark.parametrize("feature", ["wait", "expected"])
def test_a_feature_that_is_taken_away_changes_no_choice(feature: str) -> None:
    """Scores without a feature order tasks as if it always had its mean."""
    random = np.random.default_rng(3)
    weights = unflatten(random.normal(size=SIZE))
    means = {kind: [0.3] * len(names) for kind, names in FEATURES.items()}
    ablation = next(each for each in ABLATIONS if feature in each.features)
    x, g = random.normal(size=(8, len(FEATURES["task"]))), random.normal(size=len(FEATURES["global"]))
    fixed = x.copy()
    for name in ablation.features:
        fixed[:, FEATURES["task"].index(name)] = 0.3

    def scores(of, rows):  # type: ignore[no-untyped-def]
        embedded = embeddings(of, rows)
        return task_scores(of, rows, g, embedded, pool(embedded, np.ones(8)))

    ours, theirs = scores(without(weights, ablation, means), x), scores(weights, fixed)
    np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], atol=1e-9)


def test_context_that_is_taken_away_has_its_mean() -> None:
    random = np.random.default_rng(4)
    weights = unflatten(random.normal(size=SIZE))
    names = FEATURES["global"]
    context = next(each for each in ABLATIONS if each.name == "context")
    lesser = without(weights, context, {"global": [0.2] * len(names)})
    x, g, mean = (
        random.normal(size=(5, len(FEATURES["task"]))),
        random.normal(size=len(names)),
        np.full(len(names), 0.2),
    )
    embedded = embeddings(weights, x)
    pooled = pool(embedded, np.ones(5))
    np.testing.assert_allclose(
        task_scores(lesser, x, g, embedded, pooled), task_scores(weights, x, mean, embedded, pooled)
    )
    assert len(ablated("n", [weights, weights], {})) == len(ABLATIONS) + 1


def test_policies_are_compared_in_pairs(traces: Path) -> None:
    compared = compare_policies(("sjf", "fcfs"), traces / "swf", sequences=2, orders=2, length=40)
    assert len(compared) == 4
    cells = row(compared[0], compared[0].lines[0])
    assert cells[1:3] == ["SJF", "FCFS"]
    packed = compare_policies(
        ("best_fit", "random", "fgd"), traces / "openb", sequences=2, orders=2, length=40
    )
    assert [len(each.lines) for each in packed] == [2, 1, 2, 1]
    assert row(packed[0], packed[0].lines[0])[5][0] in "+-"


def test_policies_that_cannot_be_compared_are_refused(traces: Path) -> None:
    with pytest.raises(NotFound, match="no rule"):
        compare_policies(("sjf", "best_fit"), traces, sequences=2, orders=2, length=40)
    with pytest.raises(InvalidInput, match="different"):
        compare_policies(("sjf", "sjf"), traces, sequences=2, orders=2, length=40)
    with pytest.raises(InvalidInput, match="no trace"):
        compare_policies(("sjf", "fcfs"), traces / "openb", sequences=2, orders=2, length=40)


def test_busy_shares_are_means_over_bins() -> None:
    edges = np.array([0.0, 1.0, 2.0, 4.0])
    found = held(edges, np.array([0.5, 0.0]), np.array([3.0, 1.0]), np.array([2.0, 1.0]))
    np.testing.assert_allclose(found, [2.0, 2.0, 1.0])


def test_a_schedule_is_drawn_on_processors_that_are_free() -> None:
    world = pool_of(4, [(0.0, 4.0, 2), (0.0, 2.0, 1), (1.0, 2.0, 1), (2.0, 9.0, 3), (3.0, 1.0, 1)])
    state = new_state(world)
    run_queue(world, state, 0, True)
    held_by: list[tuple[float, float, int]] = []
    for task, low, high in placed_rows(world, state):
        for row_at in range(low, high):
            begin, end = float(state.started[task]), float(state.ends[task])
            assert all(other != row_at or end <= b or e <= begin for b, e, other in held_by)
            held_by.append((begin, end, row_at))
    assert len(held_by) == int(world.tasks.demand[:, 0].sum())
