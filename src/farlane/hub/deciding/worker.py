"""The worker: a process that decides with one policy on views in shared memory, and asks shadow rules when it has time.

It is started by `client` with four blocks (views and answers, two of each, used in turn) and one end of a socket pair
on which both sides send lines of JSON: the hub which view to decide, the worker what came of it. It ends with the hub,
and the kernel ends it when a policy hangs for too long.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from farlane.errors import FarlaneError
from farlane.hub.deciding.answers import write_answer, write_placements
from farlane.hub.deciding.blocks import Block
from farlane.hub.deciding.columns import SnapshotReader
from farlane.hub.deciding.naming import is_foreign, load_policy, warmed
from farlane.scheduler.assessment import assess
from farlane.scheduler.policy import Policy, policy_named
from farlane.scheduler.view import View

OUT_OF_MEMORY = 3
"""Exit code after a policy used up its memory: what it has allocated goes with the process."""


class Worker:
    """Answers one hub.

    Args:
        line: the connected end of the socket pair.
        blocks: views, views, answers, answers.
        policy: what decides; None: only the shadow rules do.
        shadows: rules that are asked too.
        hang_s: how long one decision may take before the kernel ends this process.
    """

    def __init__(
        self,
        line: socket.socket,
        blocks: list[Block],
        policy: Policy | None,
        shadows: list[Policy],
        hang_s: float,
    ) -> None:
        self._line, self._policy, self._shadows, self._hang_s = line, policy, shadows, hang_s
        self._readers = [SnapshotReader(block) for block in blocks[:2]]
        self._answers = blocks[2:]

    def run(self) -> None:
        """Answer until the hub is gone."""
        self._tell(ready=True)
        for message in self._messages():
            self._answer(int(message["view"]), int(message["size"]), ask=bool(message["ask"]))

    def _answer(self, sequence: int, size: int, *, ask: bool) -> None:
        turn = sequence // 2 % 2
        reader, block = self._readers[turn], self._answers[turn]
        at = 0
        try:
            view = reader.read(sequence, size)
            if ask and self._policy is not None:
                at = self._decide(self._policy, view, sequence, block)
                reader.check(sequence)
        except MemoryError:
            self._tell(wrong="the policy used up its memory", view=sequence)
            sys.exit(OUT_OF_MEMORY)
        except Exception as error:
            text = error.message if isinstance(error, FarlaneError) else f"{type(error).__name__}: {error}"
            self._tell(wrong=text[:500], view=sequence)
            return
        if self._shadows:
            self._shadow(view, sequence, block, at)

    def _decide(self, policy: Policy, view: View, sequence: int, block: Block) -> int:
        # SIGALRM's default ends the process, whatever holds the interpreter.
        signal.setitimer(signal.ITIMER_REAL, self._hang_s)
        began = time.perf_counter()
        answer = assess(policy, view)
        took_s = time.perf_counter() - began
        signal.setitimer(signal.ITIMER_REAL, 0)
        shape, end = write_answer(block, answer, took_s)
        self._tell(answer=shape.as_dict(), view=sequence)
        return end

    def _shadow(self, view: View, sequence: int, block: Block, at: int) -> None:
        """Ask the shadow rules, as long as the hub has nothing more urgent."""
        done: list[tuple[str, int]] = []
        start = at
        for rule in self._shadows:
            if select.select([self._line], [], [], 0)[0]:
                break
            placements = rule.decide(view).placements
            at = write_placements(block, at, placements)
            done.append((rule.name, len(placements)))
        self._tell(shadows=done, at=start, view=sequence)

    def _messages(self) -> Iterator[dict[str, Any]]:
        pending = b""
        while piece := self._line.recv(1 << 16):
            *lines, pending = (pending + piece).split(b"\n")
            yield from map(json.loads, lines)

    def _tell(self, **message: object) -> None:
        self._line.sendall(json.dumps(message).encode() + b"\n")


def main(arguments: list[str] | None = None) -> int:
    """Serve the hub on the descriptors that it names."""
    parser = argparse.ArgumentParser(prog="farlane.hub.deciding.worker")
    parser.add_argument("--line", type=int, required=True)
    parser.add_argument("--blocks", type=int, nargs=4, required=True)
    parser.add_argument("--policy", default="")
    parser.add_argument("--shadow", nargs="*", default=[])
    parser.add_argument("--hang", type=float, required=True)
    parser.add_argument("--memory", type=int, required=True)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the hub's to handle: this process ends with it
    line = socket.socket(fileno=options.line)
    blocks = [Block(at, writable=number >= 2) for number, at in enumerate(options.blocks)]
    try:
        policy = load_policy(options.policy) if options.policy else None
        if policy is not None and not is_foreign(options.policy):
            warmed(policy)
        shadows = [policy_named(name) for name in options.shadow]
    except FarlaneError as error:
        line.sendall(json.dumps({"failed": error.message}).encode() + b"\n")
        return 1
    _bound_memory(options.memory)
    try:
        Worker(line, blocks, policy, shadows, options.hang).run()
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the hub is gone
    return 0


def _bound_memory(size: int) -> None:
    """Let this process have so much address space and no more."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
