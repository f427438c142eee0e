"""Credit: a node that is owed too much gets none of an organisation's work until it says otherwise."""

from __future__ import annotations

from dataclasses import replace

from farlane.domain.ids import NodeId
from farlane.domain.records import Column
from farlane.hub.explaining import explain_job
from farlane.hub.reactor.commands import GrantLeases
from farlane.hub.reactor.reactor import Reactor
from farlane.scheduler.policy import policy_named
from farlane.testing.builders import a_job, a_node

NODE = NodeId("n-1")
WHY = "owed 10 credits, which is all the credit it gives"


def a_reactor(*nodes: str) -> Reactor:
    reactor = Reactor(1, 10.0)
    for node in nodes:
        reactor.join_node(1.0, replace(a_node(), node=NodeId(node), name=node), bytes(32), 1, {})
    return reactor


def ask(reactor: Reactor, key: str = "k", **changes: object) -> int:
    job, _ = reactor.open_job(1.0, key, replace(a_job(), **changes))  # type: ignore[arg-type]
    reactor.add_tasks(1.0, job.id, 0, Column([b""]))
    reactor.take_commands()
    return job.id


def granted(reactor: Reactor) -> list[NodeId]:
    reactor.schedule(2.0, policy_named("fifo"))
    return [command.node for command in reactor.take_commands() if isinstance(command, GrantLeases)]


def test_a_node_without_credit_left_is_passed_over() -> None:
    reactor = a_reactor("n-1", "n-2")
    reactor.set_credit(NODE, a_job().organisation, WHY)
    ask(reactor)
    assert granted(reactor) == [NodeId("n-2")]


def test_why_says_that_a_node_waits_for_its_money() -> None:
    reactor = a_reactor("n-1")
    reactor.set_credit(NODE, a_job().organisation, WHY)
    job = ask(reactor)
    assert granted(reactor) == []
    found = explain_job(reactor, reactor.state.jobs[job], policy_named("fifo"), 3.0)  # type: ignore[index]
    assert WHY in found.nodes[0].reason
    assert "farlane ledger" in found.fix


def test_work_goes_on_once_the_node_is_paid() -> None:
    reactor = a_reactor("n-1")
    reactor.set_credit(NODE, a_job().organisation, WHY)
    ask(reactor)
    reactor.set_credit(NODE, a_job().organisation, None)
    assert granted(reactor) == [NODE]
    assert not reactor.state.credit_stops


def test_other_organisations_are_served() -> None:
    reactor = a_reactor("n-1")
    reactor.set_credit(NODE, "somebody else", WHY)
    ask(reactor)
    assert granted(reactor) == [NODE]


def test_a_node_that_comes_back_says_anew_whom_it_gives_credit() -> None:
    reactor = a_reactor("n-1")
    reactor.set_credit(NODE, a_job().organisation, WHY)
    reactor.join_node(2.0, replace(a_node(), node=NODE, name="n-1"), bytes(32), 1, {})
    assert not reactor.state.credit_stops


def test_a_budget_does_not_end_a_job_that_only_waits_for_credit() -> None:
    reactor = a_reactor("n-1")
    reactor.set_credit(NODE, a_job().organisation, WHY)
    job = ask(reactor, budget=10**12)
    reactor.tick(3.0)
    assert not reactor.state.jobs[job].state.final  # type: ignore[index]
