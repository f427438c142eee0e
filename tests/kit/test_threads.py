"""Work in threads: whoever is cancelled waits for its end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from farlane.kit.threads import to_its_end


async def test_work_returns_and_raises_as_it_does() -> None:
    assert await to_its_end(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await to_its_end(divmod, 7, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_ends_after_the_work(fails: bool) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait()
        ended.set()
        if fails:
            raise ValueError("nobody hears of it")

    caller = asyncio.ensure_future(to_its_end(work))
    await asyncio.to_thread(begun.wait)
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
