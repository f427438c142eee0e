"""Contests: what runs where, what is kept, and what is said of missing or broken files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from farlane.errors import Corrupted, InvalidInput, NotFound
from farlane.lab.evaluation import running
from farlane.lab.evaluation.rivals import (
    Kind,
    LearnedPolicy,
    RulePolicy,
    load_checkpoint,
    rule_named,
    rules_of,
)
from farlane.lab.evaluation.running import run_contest, workers_here
from farlane.lab.evaluation.runs import QUANTILES, WAIT
from farlane.lab.evaluation.settings import QueueSetting, held_out, packing
from farlane.lab.evaluation.sources import (
    Found,
    check_directory,
    digests,
    find_lists,
    find_logs,
    find_nodes,
)
from farlane.scheduler.learned.network import random_weights
from farlane.scheduler.sim.rules import Rule

FCFS = RulePolicy("FCFS", int(Rule.FCFS))


def small(traces: Path, *, backfill: bool = False, cases: int = 2) -> QueueSetting:
    log = find_logs(traces)[0]
    return QueueSetting(log.name, log.path, tuple(range(100, 100 + 60 * cases, 60)), 60, 1, backfill)


def test_files_go_by_the_names_of_tables(traces: Path) -> None:
    assert [log.name for log in find_logs(traces)] == ["Lublin-1", "other"]
    assert [found.name for found in find_lists(traces)] == ["default", "other"]
    assert [log.name for log in find_logs(traces / "swf")] == ["Lublin-1", "other"]


def test_every_rule_and_a_network_run_in_a_queue(traces: Path) -> None:
    setting = small(traces, backfill=True, cases=1)
    silent = LearnedPolicy.of("silent", [random_weights(3)])
    rivals = (*rules_of(Kind.QUEUE), silent)
    results = run_contest([(setting, rivals)])
    costs = {policy: float(results.column(setting, policy)[0]) for policy in results.policies(setting)}
    assert set(costs) == {policy.name for policy in rivals}
    assert costs["silent"] == costs["FCFS"]  # equal scores: the first in the queue
    assert len(set(costs.values())) > 5
    assert 0.0 < results.column(setting, "FCFS", "utilisation")[0] <= 1.0
    waits = results.outcomes[setting.title, "FCFS"][0].quantiles[WAIT]
    assert len(waits) == QUANTILES
    assert (np.diff(waits) >= 0.0).all()


def test_rules_pack_lists(traces: Path) -> None:
    setting = packing(find_lists(traces)[1], find_nodes(traces), count=2)
    results = run_contest([(setting, rules_of(Kind.PACKING))])
    for policy in results.policies(setting):
        allocated = results.column(setting, policy, "allocated")
        assert ((allocated > 20.0) & (allocated <= 100.0)).all()
        np.testing.assert_allclose(results.column(setting, policy), 100.0 - allocated)


def test_what_ran_once_does_not_run_again(
    traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = small(traces)
    ran: list[int] = []
    whole = QueueSetting.run
    monkeypatch.setattr(QueueSetting, "run", lambda self, at, who: ran.append(at) or whole(self, at, who))
    first = run_contest([(setting, [FCFS])], cache=tmp_path)
    with (tmp_path / "outcomes.jsonl").open("a") as file:
        file.write('{"key": "cut o')
    again = run_contest([(setting, [FCFS])], cache=tmp_path)
    assert ran == [0, 1]
    assert first.column(setting, "FCFS").tolist() == again.column(setting, "FCFS").tolist()
    run_contest([(setting, [FCFS, rule_named(Kind.QUEUE, "sjf-history")])], cache=tmp_path)
    run_contest([(small(traces, cases=3), [FCFS])], cache=tmp_path)
    assert ran == [0, 1, 0, 1, 2]
    monkeypatch.setattr(running, "_code_digest", lambda: "another simulator")
    run_contest([(setting, [FCFS])], cache=tmp_path)
    assert ran[5:] == [0, 1]


def test_processes_give_the_same_and_tell_of_progress(traces: Path) -> None:
    setting = small(traces)
    told: list[tuple[int, int, str]] = []
    apart = run_contest([(setting, [FCFS])], workers=2, progress=lambda *said: told.append(said))
    here = run_contest([(setting, [FCFS])])
    assert apart.column(setting, "FCFS").tolist() == here.column(setting, "FCFS").tolist()
    assert told == [(1, 2, "Lublin-1"), (2, 2, "Lublin-1")]
    assert workers_here() >= 1


def test_forty_sequences_of_a_log_are_drawn(traces: Path) -> None:
    setting = held_out(find_logs(traces)[1], backfill=False)
    assert len(setting) == 40
    assert setting.title == "other"
    with pytest.raises(NotFound, match="did not run"):
        run_contest([]).column(setting, "FCFS")


def test_missing_directories_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no directory"):
        check_directory(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="neither logs"):
        check_directory(tmp_path)
    with pytest.raises(NotFound, match="traces fetch"):
        find_nodes(tmp_path)
    gone = QueueSetting("gone", tmp_path / "gone.swf", (0,), 10, 1, False)
    with pytest.raises(NotFound, match=r"gone\.swf"):
        run_contest([(gone, [FCFS])])


def test_a_malformed_log_says_which_line(tmp_path: Path) -> None:
    (tmp_path / "bad.swf").write_text("1 2 3\n")
    with pytest.raises(InvalidInput, match="line 1"):
        held_out(Found("bad", tmp_path / "bad.swf"), backfill=False)


def test_broken_checkpoints_are_refused_with_their_path(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK nonsense")
    with pytest.raises(Corrupted, match=r"broken\.npz"):
        load_checkpoint(tmp_path / "broken.npz")
    with pytest.raises(NotFound, match="farlane scheduler train"):
        load_checkpoint(tmp_path / "none.npz")


def test_unknown_rules_name_the_nearest() -> None:
    with pytest.raises(NotFound, match="WFP3"):
        rule_named(Kind.QUEUE, "wpf3")


def test_a_file_is_known_by_its_bytes_and_its_text(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a").write_bytes(b"text\n")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"text\n"))
    assert digests(tmp_path / "a") < digests(tmp_path / "b.gz")
