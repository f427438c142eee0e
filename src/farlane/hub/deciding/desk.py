"""The desk: decides each scheduling round by the policy if it answers in time and soundly, else by the rule.

While the policy's process decides the hub goes on: a round asks and returns, a later one takes what came of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from farlane.domain.ids import job_text
from farlane.errors import FarlaneError
from farlane.hub.deciding.circuit import Circuit
from farlane.hub.deciding.client import DecidingClient, Outcome, WorkerPlan
from farlane.hub.deciding.guard import FAULTS, Verdict, Why, carried, judge, what_holds
from farlane.hub.deciding.recording import Recorder
from farlane.hub.deciding.shadowing import Round, Shadowing
from farlane.hub.deciding.stillness import Stillness
from farlane.hub.deciding.tally import Tally
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.reactor.viewing import GroupSource
from farlane.scheduler.assessment import Assessment, assess
from farlane.scheduler.policy import Policy, validate
from farlane.scheduler.view import Decision, Placement, View

log = logging.getLogger(__name__)
INLINE_SHARE = 10
"""The policy may take an eleventh of the loop: after a decision of t seconds in the hub the next waits 10 t."""
Sources = dict[int, GroupSource]


@dataclass(frozen=True, slots=True)
class DeskPlan:
    """Who is asked, and how.

    rule: decides wherever the policy does not; own: the policy, to ask it in the hub itself, None for one that is only
    loaded in the worker or is the rule itself; inline_pairs: groups x nodes up to which that is done; worker: the
    process's plan, None for none.
    """

    rule: Policy
    own: Policy | None
    inline_pairs: int
    worker: WorkerPlan | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question under way.

    stands_for: what each group key of the view means: (job, nodes to avoid, None for fresh tasks); events: how many the
    hub had seen; number: of the view in the worker, None for one that was asked about in the hub.
    """

    view: View
    sources: Sources
    stands_for: dict[int, Hashable]
    events: int
    number: int | None = None


class Moment(NamedTuple):
    """The reactor's state as a view, and what its group keys stand for."""

    view: View
    sources: Sources


class Desk:
    """Decides the rounds of one hub after the other: it outlives a hub that starts over.

    Args:
        plan: who is asked.
        log: where decisions are kept, and how many bytes of them; None: nowhere.
    """

    def __init__(self, plan: DeskPlan, log: tuple[Path, int] | None = None) -> None:
        self.plan = plan
        self.tally = Tally()
        self._recorder = None if log is None else Recorder(*log, self.name, self.tally)
        self.circuit = Circuit()
        self.client: DecidingClient | None = None
        keep = _nothing if self._recorder is None else self._recorder.keep
        self._shadowing = Shadowing(self.tally, keep)
        self._wake: Callable[[], None] = _nothing
        self._asked: Asked | None = None
        self._outcome: Outcome | None = None
        self._proven = False
        self._stillness = Stillness()
        self._next_inline = 0.0

    def open(self) -> None:
        """Start the worker; call it on the running loop."""
        if self.plan.worker is not None and self.client is None:
            self.client = DecidingClient(self.plan.worker, self._shadowing.hear)
            self.client.keep_alive()

    def tick(self) -> None:
        """Let time pass: a worker that died starts again when it may, though nothing is to be decided."""
        if self.client is not None:
            self.client.keep_alive()

    def attach(self, wake: Callable[[], None]) -> None:
        """Serve another hub: what was asked for the earlier one is void. wake: asks for a round."""
        self._wake, self._asked, self._outcome = wake, None, None

    def close(self) -> None:
        """End the worker."""
        self._wake = _nothing
        if self.client is not None:
            self.client.close()
            self.client = None
        self._shadowing.close()
        if self._recorder is not None:
            self._recorder.close()

    @property
    def name(self) -> str:
        """The policy's name, or the rule's where there is none."""
        return (
            self.plan.worker.policy if self.plan.worker and self.plan.worker.policy else self.plan.rule.name
        )

    @property
    def due(self) -> bool:
        """Whether an outcome waits to be taken."""
        return self._outcome is not None

    @property
    def deciding(self) -> bool:
        """Whether there is a policy beside the rule."""
        return self.plan.worker is not None and bool(self.plan.worker.policy)

    @property
    def process(self) -> str:
        """How the worker stands, in a word; empty where there is none."""
        return "" if self.client is None else self.client.state

    @property
    def starts(self) -> int:
        """How often the worker was started."""
        return 0 if self.client is None else self.client.starts

    @property
    def explaining(self) -> Policy:
        """The policy that tells people why a job waits: the one that decides now, if it can be asked here."""
        return self.plan.own if self.plan.own is not None and self.tally.why is Why.POLICY else self.plan.rule

    def round(self, reactor: Reactor, now: float, events: int) -> bool:
        """Decide, or ask, or do nothing while an answer is under way; returns whether a decision was applied."""
        if self._outcome is not None:
            outcome, asked = self._outcome, self._asked
            self._outcome = self._asked = None
            if asked is None:
                return False
            self._settle(reactor, now, events, asked, outcome)
            if events != asked.events:
                self._wake()  # what came meanwhile was not in the view
            return True
        if self._asked is not None:
            return False
        view, sources = reactor.view(now)
        verdict, moment = self._who(), Moment(view, sources)
        if verdict.why is not Why.POLICY:
            self._by_rule(reactor, now, moment, verdict)
        elif self._stillness.holds(view):
            return False
        elif self._is_small(view):
            self._inline(reactor, now, events, moment)
        else:
            return self._ask(reactor, now, events, moment)
        return True

    def _ask(self, reactor: Reactor, now: float, events: int, moment: Moment) -> bool:
        """Send the view to the worker; returns whether the rule had to decide, since that cannot be done."""
        assert self.client is not None  # else `_who` names the rule
        try:
            number = self.client.send(moment.view, self._hear)
        except Exception as error:  # no memory for the block, for one
            log.exception("the view cannot be sent to the deciding process")
            text = f"the view cannot be sent: {type(error).__name__}: {error}"
            self.circuit.failed(time.monotonic())
            self._by_rule(reactor, now, moment, Verdict(Why.FAILED, text))
            return True
        self._asked = Asked(*moment, _meanings(reactor, moment.sources), events, number)
        return False

    def _who(self) -> Verdict:
        """Return who decides this round: the policy, or why not."""
        client = self.client
        if client is not None:
            client.keep_alive()
        if not self.deciding:
            return Verdict(Why.RULE)
        if client is None or not (client.ready or client.busy):
            trouble = "" if client is None else client.trouble
            return Verdict(Why.STARTING if not trouble else Why.CRASHED, trouble or "its process is starting")
        if client.busy:
            return Verdict(Why.BUSY, "it has not come to the end of an earlier view")
        if not self.circuit.may_ask(time.monotonic()):
            rest_s = self.circuit.until - time.monotonic()
            text = f"it failed {self.circuit.failures} times in a row; it is asked again in {rest_s:.0f} s"
            return Verdict(Why.RESTING, text)
        return Verdict(Why.POLICY)

    def _is_small(self, view: View) -> bool:
        """Tell whether the policy may be asked in the hub itself.

        It is the scheduler's own, has proven sound in its process, the view is small, and the hub has the time: a busy
        one has its decisions made elsewhere.
        """
        pairs = len(view.groups) * len(view.nodes.ids)
        may = self.plan.own is not None and self._proven and pairs <= self.plan.inline_pairs
        return may and time.perf_counter() >= self._next_inline

    def _hear(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._wake()

    def _inline(self, reactor: Reactor, now: float, events: int, moment: Moment) -> None:
        assert self.plan.own is not None  # `_is_small` says so
        began = time.perf_counter()
        try:
            answer, why, text = assess(self.plan.own, moment.view), Why.POLICY, ""
        except Exception as error:
            answer, why, text = None, Why.FAILED, f"{type(error).__name__}: {error}"
        took_s = time.perf_counter() - began
        self._next_inline = began + took_s + INLINE_SHARE * took_s
        self.tally.took("inline", took_s)
        asked = Asked(moment.view, moment.sources, {}, events)
        self._take(reactor, now, asked, Outcome(answer, why, text, took_s), moment)

    def _settle(self, reactor: Reactor, now: float, events: int, asked: Asked, outcome: Outcome) -> None:
        """Take what came of a question that was asked a while ago."""
        self.tally.took("process", outcome.took_s)
        view, sources = asked.view, asked.sources
        if events != asked.events:
            view, sources = reactor.view(now)
        self._take(reactor, now, asked, outcome, Moment(view, sources))

    def _take(self, reactor: Reactor, now: float, asked: Asked, outcome: Outcome, moment: Moment) -> None:
        """Apply an outcome to the state of this moment, or let the rule decide."""
        answer, verdict = outcome.answer, Verdict(outcome.why, outcome.text)
        if answer is not None:
            verdict = self._judge(asked, answer)
        if verdict.why in FAULTS:
            self.circuit.failed(time.monotonic())
        elif answer is not None:
            self.circuit.succeeded()
            self._proven = True
            self.tally.told(answer.drift, answer.disagreement)
        if answer is None or verdict.why is not Why.POLICY:
            self._by_rule(reactor, now, moment, verdict, asked, answer)
            return
        placements = list(answer.decision.placements)
        same = moment.view is asked.view
        if not same:
            present = {meaning: key for key, meaning in _meanings(reactor, moment.sources).items()}
            placements = carried(placements, asked.stands_for, present)
        kept, _, passed_over = what_holds(moment.view, placements, sound=same)
        if passed_over is not None:
            text = f"{job_text(passed_over.job)} has waited longest and was passed over though there is room"
            self._by_rule(reactor, now, moment, Verdict(Why.AGEING, text), asked, answer)
            return
        self.tally.stale += _tasks(answer.decision.placements) - _tasks(kept)
        done = Round(moment.view, Decision(tuple(kept)), verdict, answer, _older(asked, moment))
        self._apply(reactor, now, moment, done, asked.number)

    def _judge(self, asked: Asked, answer: Assessment) -> Verdict:
        verdict = judge(asked.view, answer)
        if verdict.why is Why.INVALID and asked.number is not None and self.client is not None:
            # Nodes may have changed in place since: the policy is blamed by what it has seen.
            try:
                return judge(self.client.asked_view(), answer)
            except FarlaneError:
                return verdict
        return verdict

    def _by_rule(
        self, reactor: Reactor, now: float, moment: Moment, verdict: Verdict, asked: Asked | None = None,
        answer: Assessment | None = None,
    ) -> None:  # fmt: skip
        began = time.perf_counter()
        decision = validate(moment.view, self.plan.rule.decide(moment.view))
        self.tally.took("rule", time.perf_counter() - began)
        older = None if asked is None else _older(asked, moment)
        done = Round(moment.view, decision, verdict, answer, older)
        self._apply(reactor, now, moment, done, None if asked is None else asked.number)

    def _apply(self, reactor: Reactor, now: float, moment: Moment, done: Round, number: int | None) -> None:
        self._shadowing.decided(self.client, done, number)
        reactor.apply(now, moment.sources, done.decision)
        self.tally.count(done.verdict.why, done.verdict.text, now)
        self._stillness.decided(moment.view, len(done.decision.placements))


def _tasks(placements: Iterable[Placement]) -> int:
    return sum(each.count for each in placements)


def _older(asked: Asked, moment: Moment) -> View | None:
    return None if asked.view is moment.view else asked.view


def _nothing(*_: object) -> None:
    """Do nothing: there is nobody to wake, or no log."""


def _meanings(reactor: Reactor, sources: Sources) -> dict[int, Hashable]:
    """Return what each key of a view stands for, in terms that hold beyond it."""
    jobs = reactor.state.jobs
    return {
        key: (source.job, None if source.returned is None else jobs[source.job].avoid.get(source.returned[0]))
        for key, source in sources.items()
    }
