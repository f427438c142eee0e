"""The decision log: what was decided comes back as it was, in files that stay within their bounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import Corrupted, NotFound
from farlane.hub.deciding.decision_log import FEATURES, FILES, DecisionWriter, log_files, read_decisions
from farlane.hub.deciding.guard import Verdict, Why
from farlane.hub.deciding.recording import MOST_QUEUED, Recorder, digest, logged
from farlane.hub.deciding.shadowing import Round
from farlane.hub.deciding.tally import Tally
from farlane.scheduler.assessment import Assessment
from farlane.scheduler.policy import policy_named
from farlane.scheduler.view import Decision, Placement, View

FIFO = policy_named("fifo")


@pytest.fixture
def done(build) -> Round:
    nodes = build.nodes((4, 8), (2, 4), price=(5, 9))
    view: View = build.view(nodes, build.group(nodes, count=5, run_time_s=2.0))
    decision = FIFO.decide(view)
    count = len(decision.placements)
    features = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    answer = Assessment(
        decision, np.arange(count) + 0.5, np.full(count, 0.25), 0.1, 0.2, "", features, ("a", "b")
    )
    spread = policy_named("spread").decide(view).placements
    return Round(view, decision, Verdict(Why.POLICY), answer, None, {"spread": spread})


def test_what_was_decided_comes_back(tmp_path: Path, done: Round) -> None:
    writer = DecisionWriter(tmp_path / "log", 1 << 20)
    entry = logged(done, "learned")
    writer.write(entry)
    writer.write(replace_time(entry, 7.0))
    first, second = read_decisions(tmp_path / "log")
    assert (first, second.time) == (entry, 7.0)
    assert (first.who, first.why, first.policy, first.nodes, first.waiting) == (
        "policy",
        "policy",
        "learned",
        2,
        5,
    )
    chosen = first.chosen[0]
    assert (chosen.job, chosen.node, chosen.score, chosen.propensity) == (1, "n0", 0.5, 0.25)
    assert first.names == ("a", "b")
    assert chosen.own == (0.0, 1.0)
    assert len(first.shadows["spread"][0].features) == len(FEATURES)
    assert sum(sent.count for sent in first.shadows["spread"]) == 5
    assert list(read_decisions(log_files(tmp_path / "log")[0].path)) == [first, second]


def replace_time(entry, time: float):
    import msgspec

    return msgspec.structs.replace(entry, time=time)


def test_where_the_rule_decided_both_are_told(done: Round) -> None:
    assert done.answer is not None
    other = replace(done, verdict=Verdict(Why.DRIFT, "unlike"), decision=Decision((Placement(0, 1, 2),)))
    entry = logged(other, "learned")
    assert (entry.who, entry.why) == ("rule", "drift")
    assert [(each.node, each.count, each.propensity) for each in entry.chosen] == [("n1", 2, 1.0)]
    assert dict(zip(FEATURES, entry.chosen[0].features, strict=True))["price_nano_s"] == 9.0
    assert entry.chosen[0].own == ()
    assert (entry.proposed[0].propensity, entry.proposed[0].own) == (0.25, (0.0, 1.0))


def test_what_a_liar_said_is_kept_as_far_as_it_means_something(done: Round) -> None:
    lies = Decision((Placement(0, 99, 1), Placement(5, 0, 1), Placement(0, 0, 1, 7), Placement(0, 0, 1)))
    ones = np.ones(4)
    entry = logged(
        replace(done, verdict=Verdict(Why.INVALID, "no"), answer=Assessment(lies, ones, ones)), "learned"
    )
    assert [(each.node, each.own) for each in entry.proposed] == [("n0", ())]


def test_a_log_keeps_to_its_bytes_and_the_newest_of_it(tmp_path: Path, done: Round) -> None:
    writer = DecisionWriter(tmp_path, FILES * 4096)
    entry = logged(done, "learned")
    for at in range(200):
        writer.write(replace_time(entry, float(at)))
    kept = [each.time for each in read_decisions(tmp_path)]
    assert kept == [float(at) for at in range(200 - len(kept), 200)]
    assert 0 < len(kept) < 200
    assert sum(file.path.stat().st_size for file in log_files(tmp_path)) <= FILES * 4096
    DecisionWriter(tmp_path, FILES * 4096).write(entry)
    assert log_files(tmp_path)[-1].path.read_bytes().count(b"\n") == 1


def test_a_line_that_was_cut_off_is_passed_over_and_a_foreign_one_named(tmp_path: Path, done: Round) -> None:
    DecisionWriter(tmp_path, 1 << 20).write(logged(done, "learned"))
    path = log_files(tmp_path)[0].path
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    assert len(list(read_decisions(tmp_path))) == 1
    path.write_bytes(whole + b'{"time": "no"}\n')
    with pytest.raises(Corrupted, match="line 2"):
        list(read_decisions(path))
    path.write_bytes(whole.replace(b'"format":1', b'"format":9').replace(b'{"time"', b'{"format":9,"time"'))
    with pytest.raises(Corrupted, match="format 9"):
        list(read_decisions(path))
    with pytest.raises(NotFound):
        list(read_decisions(tmp_path / "nowhere"))


def test_names_of_features_are_written_once_a_file_and_told_of_each_decision(
    tmp_path: Path, done: Round
) -> None:
    entry = logged(done, "learned")
    writer = DecisionWriter(tmp_path, FILES * 4096)
    for at in range(30):
        writer.write(replace_time(entry, float(at)))
        writer.write(
            replace_time(logged(replace(done, answer=None, verdict=Verdict(Why.TIMEOUT)), "learned"), 0.0)
        )
    assert [each.names for each in read_decisions(tmp_path)] == [("a", "b"), ()] * 30
    texts = [file.path.read_text() for file in log_files(tmp_path)]
    assert len(texts) > 2
    assert all(text.count('"names"') == 1 for text in texts)


def test_equal_views_have_equal_digests(build) -> None:
    nodes = build.nodes((4, 8))
    one, same = (build.view(nodes, build.group(nodes)) for _ in range(2))
    assert digest(one) == digest(same)
    assert digest(one) != digest(build.view(nodes, build.group(nodes, count=2)))


def test_a_recorder_never_waits_and_counts_what_it_cannot_keep(tmp_path: Path, done: Round) -> None:
    tally = Tally()
    recorder = Recorder(tmp_path / "log", 1 << 20, "learned", tally)
    recorder.keep(replace(done, view=replace(done.view, groups=())))
    for _ in range(10):
        recorder.keep(done)
    recorder.close()
    assert (tally.logged, tally.log_dropped) == (10, 0)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    recorder = Recorder(blocked, 1 << 20, "learned", tally)
    recorder.keep(done)
    recorder.close()
    assert (tally.logged, tally.log_dropped) == (10, 1)
    recorder.close()


def test_a_recorder_drops_what_is_too_much(
    tmp_path: Path, done: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = Tally()
    recorder = Recorder(tmp_path / "log", 1 << 20, "learned", tally)
    monkeypatch.setattr(recorder, "_thread", object())  # nobody writes
    for _ in range(MOST_QUEUED + 3):
        recorder.keep(done)
    assert tally.log_dropped == 3
