"""The client: the hub's side of the worker, which sends it views and hears its answers without ever waiting for it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from farlane.errors import FarlaneError
from farlane.hub.deciding.answers import AnswerShape, read_answer, read_placements
from farlane.hub.deciding.blocks import Block
from farlane.hub.deciding.circuit import STARTS, Starts
from farlane.hub.deciding.columns import SnapshotReader, SnapshotWriter
from farlane.hub.deciding.guard import Why
from farlane.kit.backoff import Backoff
from farlane.scheduler.assessment import Assessment
from farlane.scheduler.view import Placement, View

log = logging.getLogger(__name__)

HANG_BUDGETS, LEAST_HANG_S = 8.0, 2.0
"""A decision may take so many budgets, and at least so long, before the process is ended."""
ALARM = 1.5
"""The kernel ends a hanging process after so many times that, in case the hub cannot."""
START_S = 30.0
"""How long a process may take until it can decide."""


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker is started with.

    policy: empty for shadow rules alone; budget_s: how long an answer may take; memory_bytes: its address space;
    restarts: how long one that died stays dead.
    """

    policy: str
    shadows: tuple[str, ...]
    budget_s: float
    memory_bytes: int
    restarts: Backoff = STARTS

    @property
    def hang_s(self) -> float:
        """How long a decision may take before the process is ended."""
        return max(LEAST_HANG_S, HANG_BUDGETS * self.budget_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a question: an answer, or why there is none. took_s: from question to outcome."""

    answer: Assessment | None
    why: Why
    text: str
    took_s: float


Answered = Callable[[Outcome], None]
Shadowed = Callable[[int, dict[str, tuple[Placement, ...]]], None]
"""Hears what each shadow rule would have done on the view of a number."""


class DecidingClient:
    """One worker, started when it may be and ended with the hub. Every method returns at once.

    Args:
        plan: what it decides with.
        shadowed: hears of shadow rules.
    """

    def __init__(self, plan: WorkerPlan, shadowed: Shadowed) -> None:
        self.plan = plan
        self.trouble = ""
        """Why there is no worker, in words."""
        self.starts = 0
        """How often one was started."""
        self._shadowed = shadowed
        self._loop = asyncio.get_running_loop()
        self._views = [Block.new(), Block.new()]
        self._answers = [Block.new(), Block.new()]
        self._writers = [SnapshotWriter(block) for block in self._views]
        self._starts = Starts(backoff=plan.restarts)
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: list[subprocess.Popen[bytes]] = []
        self._line: socket.socket | None = None
        self._pending = b""
        self._ready = False
        self._sequence = 0
        self._finished = 0
        self._size = 0
        self._answered: Answered | None = None
        self._asked_at = 0.0
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ready(self) -> bool:
        """Whether a view can be sent now."""
        return self._ready and not self._busy

    @property
    def quiet(self) -> bool:
        """Whether it has nothing at all to do, so that the shadow rules may be asked."""
        return self.ready and self._finished == self._sequence

    @property
    def busy(self) -> bool:
        """Whether the worker has not answered yet, or answers too late."""
        return self._busy

    @property
    def state(self) -> str:
        """How the worker stands: ready, deciding, late (nobody waits for it any more), starting or resting (none)."""
        if self._process is None:
            return "resting"
        if not self._ready:
            return "starting"
        if not self._busy:
            return "ready"
        return "late" if self._answered is None else "deciding"

    @property
    def pid(self) -> int | None:
        """The worker's process, if it runs."""
        return None if self._process is None else self._process.pid

    def keep_alive(self) -> None:
        """Start the worker if there is none and it may be started; reap those that ended."""
        self._ended = [process for process in self._ended if process.poll() is None]
        now = self._loop.time()
        if self._process is None and self._starts.may_start(now):
            self._start(now)

    def send(self, view: View, answered: Answered | None) -> int:
        """Send a view; `answered` hears the outcome within the budget. None: only the shadow rules are asked.

        Call it only while `ready`. Returns the view's number.
        """
        assert self._line is not None
        self._sequence += 2
        turn = self._sequence // 2 % 2
        self._size = self._writers[turn].write(view, self._sequence)
        message = {"view": self._sequence, "size": self._size, "ask": answered is not None}
        if answered is not None:
            self._answered, self._busy, self._asked_at = answered, True, self._loop.time()
            self._timer = self._loop.call_later(self.plan.budget_s, self._late)
        try:
            self._line.send(json.dumps(message).encode() + b"\n")
        except OSError:
            # It died this moment; the loop hears of that next. A full socket means that it has hung for long.
            log.debug("the view could not be sent to the deciding process", exc_info=True)
        return self._sequence

    def asked_view(self) -> View:
        """Return the view that was sent last, as the worker sees it."""
        block = self._views[self._sequence // 2 % 2]
        return SnapshotReader(block).read(self._sequence, self._size)

    def close(self) -> None:
        """End the worker and let go of the memory."""
        self._answered = None
        self._drop("")
        for process in self._ended:
            process.wait()
        for block in (*self._views, *self._answers):
            block.close()

    def _start(self, now: float) -> None:
        ours, theirs = socket.socketpair()
        passed = [theirs.fileno(), *(block.descriptor for block in (*self._views, *self._answers))]
        plan = self.plan
        command = [
            sys.executable, "-m", "farlane.hub.deciding.worker", "--line", str(passed[0]), "--blocks",
            *map(str, passed[1:]), "--hang", str(ALARM * plan.hang_s), "--memory", str(plan.memory_bytes),
            "--policy", plan.policy, "--shadow", *plan.shadows,
        ]  # fmt: skip
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    pass_fds=passed,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=_environment(),
                )
        except OSError as error:
            ours.close()
            self._starts.died(now)
            self.trouble = f"the deciding process cannot be started: {error}"
            log.warning("%s", self.trouble)
            return
        self._starts.started(now)
        self.starts += 1
        ours.setblocking(False)
        self._line, self._pending = ours, b""
        self._loop.add_reader(ours.fileno(), self._readable)
        self._timer = self._loop.call_later(START_S, self._drop, f"it was not ready within {START_S:.0f} s")

    def _readable(self) -> None:
        assert self._line is not None
        try:
            piece = self._line.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._drop("it ended by itself")
            return
        *lines, self._pending = (self._pending + piece).split(b"\n")
        for line in lines:
            try:
                self._hear(json.loads(line))
            except (FarlaneError, KeyError, TypeError, ValueError) as error:
                self._drop(f"it sent what cannot be read: {error}")
                return

    def _hear(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._cancel_timer()
            self._ready, self.trouble, self._finished = True, "", self._sequence
        elif "failed" in message:
            self.trouble = str(message["failed"])
        elif "answer" in message or "wrong" in message:
            self._hear_answer(message)
        elif "shadows" in message:
            self._hear_shadows(message)

    def _hear_answer(self, message: dict[str, Any]) -> None:
        self._busy = False
        self._cancel_timer()
        if "wrong" in message or not self.plan.shadows:
            self._finished = int(message["view"])
        if self._answered is None:
            return  # too late: the rule has decided
        if "wrong" in message:
            self._tell(None, Why.FAILED, str(message["wrong"]))
            return
        try:
            block = self._answers[int(message["view"]) // 2 % 2]
            answer, _ = read_answer(block, AnswerShape.of(message["answer"]))
        except FarlaneError as error:
            self._tell(None, Why.INVALID, error.message)
            return
        self._tell(answer, Why.POLICY, "")

    def _hear_shadows(self, message: dict[str, Any]) -> None:
        sequence, at = int(message["view"]), int(message["at"])
        block, found = self._answers[sequence // 2 % 2], {}
        for name, count in message["shadows"]:
            found[str(name)], at = read_placements(block, at, int(count))
        self._finished = sequence
        self._shadowed(sequence, found)

    def _late(self) -> None:
        """The budget is over: somebody else decides; the worker has until `hang_s` to come to its end."""
        self._timer = self._loop.call_later(
            self.plan.hang_s - self.plan.budget_s,
            self._drop,
            f"it did not answer within {self.plan.hang_s:.1f} s",
        )
        self._tell(None, Why.TIMEOUT, f"no answer within {self.plan.budget_s * 1000:.0f} ms")

    def _tell(self, answer: Assessment | None, why: Why, text: str) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(Outcome(answer, why, text, self._loop.time() - self._asked_at))

    def _drop(self, reason: str) -> None:
        """End the worker, if it runs, and let the next one wait its turn. reason: empty where it was to end."""
        process, line = self._process, self._line
        if process is None or line is None:
            return
        self._cancel_timer()
        self._loop.remove_reader(line.fileno())
        line.close()
        process.kill()
        self._ended.append(process)
        self._process, self._line, self._ready, self._busy = None, None, False, False
        self._starts.died(self._loop.time())
        if reason:
            self.trouble = self.trouble or f"the deciding process ended: {reason}"
            log.warning("the deciding process %d ended: %s", process.pid, self.trouble)
        self._tell(None, Why.CRASHED, self.trouble)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _environment() -> dict[str, str]:
    """Return the hub's environment, with one thread for numpy: a decision is small, and cores are for work."""
    return os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
