"""Who decides is told: by `why`, by `farlane scheduler status`, by metrics and in the decision log of a running hub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from farlane.cli.scheduler_status import _show
from farlane.errors import InvalidSetting
from farlane.hub.deciding.decision_log import read_decisions
from farlane.hub.deciding.desk import Desk
from farlane.hub.deciding.metrics import DecidingCollector
from farlane.hub.deciding.naming import load_policy
from farlane.hub.deciding.opening import LOG, policy_of
from farlane.hub.settings import HubSettings
from farlane.sdk.deciding import deciding_status
from farlane.testing.odd_policies import odd
from farlane.testing.running_hub import RunningHub, submit

WAIT_S = 60.0


async def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.005)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    settings = HubSettings(policy=odd("Raises"), policy_shadow=("fifo", "spread"), decision_budget_s=30.0)
    async with RunningHub(tmp_path, settings=settings) as running:
        yield running


async def test_everybody_who_asks_hears_that_the_rule_decides_and_why(
    hub: RunningHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = hub.service.policy
    assert isinstance(desk, Desk)
    await until(lambda: desk.process == "ready")
    async with hub.node() as node, hub.client() as client:
        job = await submit(client, [b"x"] * 3)
        await node.end(await node.take(3))
        assert (await job.wait(timeout_s=WAIT_S)).done == 3
        waiting = await submit(client, [b"x"] * 40)
        await node.take(16)
        found = await waiting.why()
        assert "the rule shortest-first decides in place of" in found.decider
        assert "ZeroDivisionError" in found.decider or "3 times in a row" in found.decider
        status = await deciding_status(client.connection)
    assert (status.rule, status.policy) == ("shortest-first", odd("Raises"))
    assert status.decided["failed"] >= 1
    _show(status)
    shown = capsys.readouterr().out
    assert "the rule shortest-first decides in place of the policy" in shown
    assert "failed" in shown
    registry = CollectorRegistry()
    registry.register(DecidingCollector(desk))
    told = generate_latest(registry).decode()
    assert f'farlane_hub_decision_fallbacks_total{{why="failed"}} {status.decided["failed"]}' in told
    assert "farlane_hub_decider_starts_total 1.0" in told
    await hub.stop()
    entries = list(read_decisions(tmp_path / LOG))
    assert {entry.who for entry in entries} == {"rule"}
    assert sum(sent.count for sent in entries[0].chosen) == 3
    await hub.start()  # the fixture stops it


async def test_the_learned_policy_decides_and_tells_what_it_looked_at(tmp_path: Path) -> None:
    settings = HubSettings(policy="learned", decision_budget_s=30.0)
    async with RunningHub(tmp_path, settings=settings) as hub, hub.node() as node, hub.client() as client:
        desk = hub.service.policy
        assert isinstance(desk, Desk)
        await until(lambda: desk.process == "ready")
        await submit(client, [b"x"] * 3)
        await node.take(3)
        status = await deciding_status(client.connection)
        assert (status.policy, status.why, status.assessed) == ("learned", "policy", 1)
    entry = next(read_decisions(tmp_path / LOG))
    assert entry.who == "policy"
    assert len(entry.chosen[0].own) == len(entry.names) > 0
    assert 0 < entry.chosen[0].propensity <= 1


async def test_shadow_rules_are_asked_beside_a_rule(tmp_path: Path) -> None:
    settings = HubSettings(policy="fifo", policy_shadow=("spread",), decision_log_bytes=1 << 20)
    async with RunningHub(tmp_path, settings=settings) as hub, hub.node() as node, hub.client() as client:
        desk = hub.service.policy
        assert isinstance(desk, Desk)
        await until(lambda: desk.process == "ready")
        await submit(client, [b"x"] * 3)
        await node.take(3)
        await until(lambda: bool(desk.tally.shadows))
        status = await deciding_status(client.connection)
        assert (status.policy, status.why, status.shadows["spread"].share) == ("", "rule", 1.0)
    entry = next(read_decisions(tmp_path / LOG))
    assert sum(sent.count for sent in entry.shadows["spread"]) == 3


async def test_where_one_rule_decides_there_is_no_more_to_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with RunningHub(tmp_path) as hub, hub.client() as client:
        job = await submit(client, [b"x"])
        assert (await job.why()).decider == ""
        status = await deciding_status(client.connection)
    assert (status.policy, status.rule, status.why) == ("", "fifo", "rule")
    _show(status)
    assert capsys.readouterr().out.startswith("the rule fifo decides\n")
    assert not (tmp_path / LOG).exists()


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"policy": "fifoo"}, "fifo"),
        ({"policy": "a:b", "policy_fallback": "sometimes"}, "policy_fallback"),
        ({"policy_shadow": ("spred",)}, "spread"),
    ],
)
def test_names_that_are_none_are_told_at_once(changes: dict[str, object], setting: str) -> None:
    with pytest.raises(InvalidSetting, match=setting):
        policy_of(HubSettings(**changes))  # type: ignore[arg-type]


def test_a_policy_of_ones_own_is_an_object_or_a_class() -> None:
    assert load_policy(odd("Sound")).name == "sound"
    assert load_policy(odd("NOTHING")).name == "nothing"
    with pytest.raises(InvalidSetting, match=r"package\.module:NAME"):
        load_policy("nowhere.at_all:X")
