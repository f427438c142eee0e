"""The storage thread: everything queued goes into one commit, then every caller is told in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from farlane.domain.records import Record
from farlane.errors import Conflict, FarlaneError, Internal

T = TypeVar("T")
OnDurable = Callable[[Exception | None], None]

GROUP_BYTES = 4 << 20
"""A commit is closed once it holds this much: it bounds the journal, and how long the first caller waits."""

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What the storage thread drives; it is called from that thread alone."""

    def write(self, records: Sequence[Record]) -> int:
        """Add records to the open transaction, beginning one if there is none; returns the bytes written."""
        ...

    def commit(self) -> None:
        """Make the open transaction durable."""
        ...

    def abandon(self, reason: FarlaneError) -> None:
        """Undo the open transaction, if any, after `reason`; must not raise."""
        ...

    def rest(self, busy: bool) -> None:
        """Do housekeeping after a commit whose callers know; busy: more is queued already. Must not raise."""
        ...


@dataclass(frozen=True, slots=True)
class _Append:
    records: Sequence[Record]
    on_durable: OnDurable


@dataclass(frozen=True, slots=True)
class _Call:
    """Anything else that must run between two commits."""

    run: Callable[[], None]


class _Stop:
    """The last item of the queue."""


_Item = _Append | _Call | _Stop


class StorageThread:
    """One thread that owns an engine.

    After a failed commit nothing more is written: every later append gets the same error, until `clear`.

    Args:
        name: of the thread, for debuggers.
        engine: what writes.
        refusal: start refusing with this error (a store that was opened on a full disk).
    """

    def __init__(self, name: str, engine: Engine, refusal: FarlaneError | None = None) -> None:
        self._engine = engine
        self._refusal = refusal
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._held: _Item | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def refusal(self) -> FarlaneError | None:
        """Why appends are refused, None while they are not."""
        return self._refusal

    def append(self, records: Sequence[Record], on_durable: OnDurable) -> None:
        """Queue records for the next commit.

        Raises:
            Conflict: the store is closed.
        """
        if self._closing:
            raise Conflict("the store is closed; nothing can be appended to it any more")
        self._queue.put(_Append(records, on_durable))

    def call(self, function: Callable[[], T]) -> T:
        """Run a function on the storage thread, after everything queued so far, and return its result.

        Raises:
            Conflict: the store is closed.
        """
        if self._closing:
            raise Conflict("the store is closed; open it again")
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(function())
            except BaseException as error:
                outcome.set_exception(error)

        self._queue.put(_Call(run))
        return outcome.result()

    def clear(self) -> None:
        """Accept appends again; to be called on the storage thread."""
        self._refusal = None

    def close(self) -> bool:
        """Commit what is queued and end the thread; returns False if that was done before."""
        if self._closing:
            self._thread.join()
            return False
        self._closing = True
        self._queue.put(_Stop())
        self._thread.join()
        return True

    def _run(self) -> None:
        while not isinstance(item := self._take(), _Stop):
            if isinstance(item, _Call):
                item.run()
            else:
                self._commit_group([item])

    def _take(self) -> _Item:
        item, self._held = self._held, None
        return self._queue.get() if item is None else item

    def _take_append(self) -> _Append | None:
        """Take the next append if one is queued; another item is held for later."""
        try:
            item = self._queue.get_nowait()
        except Empty:
            return None
        if isinstance(item, _Append):
            return item
        self._held = item
        return None

    def _commit_group(self, group: list[_Append]) -> None:
        error = self._try_commit(group) if self._refusal is None else _again(self._refusal)
        for append in group:
            _tell(append.on_durable, error)
        if error is None:
            self._engine.rest(busy=not self._queue.empty())

    def _try_commit(self, group: list[_Append]) -> FarlaneError | None:
        """Commit the first append of `group` and what is queued behind it, which is added to the group."""
        try:
            size_bytes = self._engine.write(group[0].records)
            while size_bytes < GROUP_BYTES and (item := self._take_append()) is not None:
                group.append(item)
                size_bytes += self._engine.write(item.records)
            self._engine.commit()
        except Exception as error:
            self._refusal = _as_refusal(error)
            log.error("a commit failed; the store refuses appends from now on: %s", self._refusal)
            self._engine.abandon(self._refusal)
            return self._refusal
        return None


def _as_refusal(error: Exception) -> FarlaneError:
    if isinstance(error, FarlaneError):
        return error
    refusal = Internal(
        f"the store could not write a record ({type(error).__name__}: {error}); expected a well-formed one. Restart "
        "the hub: it continues from the last durable state; and report this"
    )
    refusal.__cause__ = error
    return refusal


def _again(refusal: FarlaneError) -> FarlaneError:
    """Return a copy: one exception raised many times over would gather all their tracebacks."""
    copy = type(refusal)(refusal.message, **refusal.facts)
    copy.__cause__ = refusal
    return copy


def _tell(on_durable: OnDurable, error: FarlaneError | None) -> None:
    try:
        on_durable(error)
    except Exception:  # one broken listener must not stop the others, nor the store
        log.exception("a listener of the store failed")
