"""Two organisations on one real network: who may set what, where work waits at a cap, and tokens withdrawn."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import Callable
from typing import Any

import pytest

from farlane.domain.caps import Cap
from farlane.domain.usage import month_of
from farlane.errors import PermissionRefused
from farlane.sdk.client import AsyncClient
from farlane.sdk.ledger import LedgerClient


@pytest.fixture(scope="module")
def works(new_network: Callable[..., Any]) -> Any:
    """A network of works whose node runs the work of lab too."""
    return new_network("--nodes", "1", "--organisation", "works", "--set", "node.serves=lab")


@pytest.fixture(scope="module")
def lab(works: Any) -> dict[str, dict[str, str]]:
    """Environments of lab's administrator and of ada, a member."""
    url = works.json("token")["url"]

    def made(*options: str) -> dict[str, str]:
        token = works.cli("token", "--organisation", "lab", *options).out.strip()
        return {"FARLANE_URL": url, "FARLANE_TOKEN": token}

    return {"admin": made("--admin", "--publisher", "lab/root"), "ada": made("--publisher", "lab/ada")}


def test_only_an_administrator_sets_a_budget_and_members_see_it(works: Any, lab: Any) -> None:
    refused = works.cli("budget", "set", "--project", "vision", "--month", "9", code=1, **lab["ada"])
    assert "lab/ada may not set budgets" in refused.err
    assert "farlane token --organisation lab --admin" in refused.err
    assert "may not make credits" in works.cli("ledger", "grant", "5", code=1, **lab["ada"]).err
    works.cli("budget", "set", "--project", "vision", "--month", "9", **lab["admin"])
    (seen,) = works.cli("budget", "ls", "--json", **lab["ada"]).json
    assert (seen["cap"]["project"], seen["cap"]["monthly_nano"]) == ("vision", 9 * 10**9)
    assert works.cli("budget", "ls", "--json").json == []  # of works


def test_work_waits_at_the_cap_says_why_and_goes_on_when_it_is_raised(
    works: Any, lab: Any, eventually: Any
) -> None:
    works.cli("budget", "set", "--project", "night", "--month", "0.000001", **lab["admin"])
    works.cli("run", "-y", "-d", "--project", "night", "--name", "waits", "--", "true", **lab["ada"])
    works.cli("run", "-y", "--project", "day", "--", "true", **lab["ada"])  # passes it meanwhile
    (job,) = works.cli("ps", "--json", "--project", "night", **lab["ada"]).json
    assert (job["state"], job["project"], job["running"]) == ("pending", "night", 0)
    why = works.cli("why", job["job"], **lab["ada"]).out
    assert "0.000001 credits that project night of lab may spend" in why
    assert "farlane budget set --project night --month" in why
    works.cli("budget", "set", "--project", "night", "--month", "5", **lab["admin"])
    works.cli("wait", job["job"], "--timeout", "30s", **lab["ada"])
    shown = works.cli("ps", "--all", **lab["ada"]).out.splitlines()
    assert [line.split()[2] for line in shown] == ["PROJECT", "day", "night"]
    eventually(lambda: _state(works, lab, "night")["spent"] == _spent(works, lab, "night"))
    assert _state(works, lab, "night")["reserved"] == 0


def test_what_was_spent_is_remembered_over_a_restart(works: Any, lab: Any) -> None:
    before = _state(works, lab, "night")
    assert before["spent"] > 0
    works.stop()
    works.start()
    assert _state(works, lab, "night") == before
    rows = list(
        csv.DictReader(io.StringIO(works.cli("usage", "--csv", "--by", "project,provider", **lab["ada"]).out))
    )
    assert {(row["month"], row["project"], row["provider"]) for row in rows} == {
        (month_of(time.time()), project, "works") for project in ("day", "night")
    }


def test_a_withdrawn_token_is_refused_at_once(works: Any, lab: Any) -> None:
    (ada,) = [one for one in works.cli("token", "ls", "--json").json if one["publisher"] == "lab/ada"]
    assert not ada["admin"]
    assert works.cli("ps", **lab["ada"]).code == 0
    works.cli("token", "revoke", ada["name"])
    assert "withdrawn" in works.cli("ps", code=1, **lab["ada"]).err
    assert works.cli("ps", **lab["admin"]).code == 0


async def _set_ceiling(environment: dict[str, str]) -> None:
    async with AsyncClient(environment["FARLANE_URL"], environment["FARLANE_TOKEN"]) as client:
        await LedgerClient(client.connection).set_cap(Cap("lab", "", 10**18))


def _state(works: Any, lab: Any, project: str) -> Any:
    states = works.cli("budget", "ls", "--json", **lab["admin"]).json
    return next(one for one in states if one["cap"]["project"] == project)


def _spent(works: Any, lab: Any, project: str) -> int:
    jobs = works.cli("ps", "--all", "--json", "--project", project, **lab["ada"]).json
    return sum(job["spent"] for job in jobs)


def test_the_hubs_owner_sets_a_ceiling_that_an_administrator_cannot_raise(works: Any, lab: Any) -> None:
    refused = works.cli("budget", "set", "--organisation", "works", "--month", "1", code=1, **lab["admin"])
    assert "may not see the budgets of other organisations" in refused.err
    with pytest.raises(PermissionRefused, match="may not set ceilings for lab"):
        asyncio.run(_set_ceiling(lab["admin"]))
    assert "hub's owner" in works.cli("budget", "ls", "--all", code=1, **lab["admin"]).err
    works.cli("budget", "set", "--organisation", "lab", "--project", "busy", "--open-tasks", "2")
    works.cli(
        "budget",
        "set",
        "--project",
        "busy",
        "--open-tasks",
        "9",
        "--cores",
        "0.5",
        "--gpus",
        "T4=1",
        **lab["admin"],
    )
    run = ("run", "-y", "-d", "--project", "busy", "--cpu", "1")
    beyond = works.cli(*run, "--tasks", "3", "--", "true", code=1, **lab["admin"])
    assert "3 more were asked for, 2 are allowed now" in beyond.err
    waits = works.cli(*run, "--tasks", "2", "--", "true", **lab["admin"])
    assert (
        "one task takes 1 core, and project busy of lab may hold 0.5 cores at once: it never starts"
        in waits.err
    )
    shown = works.cli("ps", "--project", "busy", **lab["admin"])
    assert f"{waits.out.strip()} waits: one task takes 1 core" in shown.err
    works.cli(
        "budget",
        "set",
        "--project",
        "busy",
        "--cores",
        "none",
        "--alert",
        "1",
        "--month",
        "1",
        **lab["admin"],
    )
    works.cli("wait", waits.out.strip(), "--timeout", "30s", **lab["admin"])
    listed = works.cli("budget", "ls", "--organisation", "lab").out
    assert [line.split()[2:4] for line in listed.splitlines() if " busy " in line] == [
        ["lab", "credits"], ["lab", "T4"], ["lab", "open"], ["hub's", "owner"],
    ]  # fmt: skip
