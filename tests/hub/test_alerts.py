"""Alerts reach a webhook at least once, whatever it answers and whenever the hub starts over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

from farlane.domain.caps import Alert, Budget, Cap
from farlane.errors import Corrupted, DiskFull, InvalidSetting
from farlane.hub import alert_outbox, alert_sender
from farlane.hub.alert_outbox import AlertOutbox
from farlane.hub.alert_sender import AlertSender
from farlane.hub.settings import HubSettings
from farlane.kit.backoff import Backoff
from farlane.testing.running_hub import RunningHub

QUICK = Backoff(0.001, 0.002)
CAP = Cap("lab", "vision", 100 * 10**9, 500 * 10**9)


def an_alert(percent: int = 80) -> Alert:
    return Alert(CAP, Budget.MONTH, "2026-11", percent, percent * 10**9)


class Webhook:
    """A real HTTP server on loopback that answers what it is told to, and keeps what it took."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.asked: asyncio.Queue[int] = asyncio.Queue()
        self.taken: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.url = ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Webhook]:
        app = web.Application()
        app.router.add_post("/secret", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/secret"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        payload, status = await request.json(), self.answers.pop(0) if self.answers else 204
        if 200 <= status < 300:
            self.taken.put_nowait(payload)
        self.asked.put_nowait(status)
        return web.Response(status=status)


@contextlib.asynccontextmanager
async def working(outbox: AlertOutbox, url: str) -> AsyncIterator[None]:
    """Keep and deliver inside the block."""
    sender = AlertSender(outbox, url, backoff=QUICK, random=Random(1))
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(outbox.keep()), tasks.create_task(sender.run())]
        yield
        for task in started:
            task.cancel()


async def until_kept(path: Path, waiting: int) -> dict[str, Any]:
    """Return the file once so many alerts wait in it."""
    while True:
        found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {"waiting": None}
        if found["waiting"] is not None and len(found["waiting"]) == waiting:
            return found
        await asyncio.sleep(0)


async def test_a_webhook_that_fails_gets_it_again_after_a_restart_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, hook = tmp_path / "alerts.json", Webhook(500, 302, 503, 404)
    async with hook.serving():
        before = AlertOutbox(path, queue=True)
        before.add(an_alert(), "net", 5.0)
        async with working(before, hook.url):
            assert [await hook.asked.get() for _ in range(2)] == [500, 302]
            await until_kept(path, 1)
        assert hook.taken.empty()
        after = AlertOutbox(path, queue=True)
        assert after.told(CAP, "2026-11") == {Budget.MONTH: 80}
        async with working(after, hook.url):
            payload = await hook.taken.get()
            await until_kept(path, 0)
    assert payload == {
        "version": 1, "id": payload["id"], "network": "net", "organisation": "lab", "project": "vision",
        "budget": "month", "month": "2026-11", "ceiling": False, "percent": 80, "credits": "100", "spent": "80",
        "at": 5.0, "text": "project vision of lab has spent 80 % of its 100 credits of 2026-11",
    }  # fmt: skip
    assert (after.delivered, after.dropped) == (1, 0)
    assert after.failures >= 1
    assert "secret" not in caplog.text
    assert "127.0.0.1" in caplog.text


async def test_one_that_was_taken_but_not_noted_comes_again_under_its_id(tmp_path: Path) -> None:
    path, hook = tmp_path / "alerts.json", Webhook()
    async with hook.serving():
        outbox = AlertOutbox(path, queue=True)
        outbox.add(an_alert(), "net", 5.0)
        async with working(outbox, hook.url):
            first = await hook.taken.get()
            await until_kept(path, 0)
        path.write_text(json.dumps({"version": 1, "told": [], "waiting": [first]}))
        async with working(AlertOutbox(path, queue=True), hook.url):
            assert await hook.taken.get() == first


async def test_alerts_come_in_their_order_and_nobody_waits_for_a_dead_webhook(tmp_path: Path) -> None:
    outbox = AlertOutbox(tmp_path / "alerts.json", queue=True)
    async with working(outbox, "http://127.0.0.1:9/secret"):
        outbox.add(an_alert(50), "net", 1.0)
        outbox.add(an_alert(80), "net", 2.0)
        while not outbox.failures:
            await asyncio.sleep(0)
    hook = Webhook()
    async with hook.serving(), working(outbox, hook.url):
        assert [(await hook.taken.get())["percent"] for _ in range(2)] == [50, 80]


async def test_the_oldest_is_dropped_when_too_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_outbox, "MAX_WAITING", 2)
    outbox = AlertOutbox(tmp_path / "alerts.json", queue=True)
    for percent in (50, 80, 100):
        outbox.add(an_alert(percent), "net", 1.0)
    first = dict(outbox.waiting[0])
    outbox.taken(first)  # one that was dropped while it was on its way
    assert ([one["percent"] for one in outbox.waiting], outbox.dropped) == ([80, 100], 1)


async def test_a_full_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox, write = AlertOutbox(tmp_path / "alerts.json", queue=True), alert_outbox.atomic_write
    full = [True]

    def once_full(path: Path, data: bytes, mode: int) -> None:
        if full.pop() if full else False:
            raise DiskFull("no room")
        write(path, data, mode)

    monkeypatch.setattr(alert_outbox, "atomic_write", once_full)
    monkeypatch.setattr(alert_outbox, "SAVE_AGAIN_S", 0.0)
    outbox.add(an_alert(), "net", 1.0)
    task = asyncio.create_task(outbox.keep())
    await until_kept(tmp_path / "alerts.json", 1)
    task.cancel()


async def test_a_webhook_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(alert_sender, "TIMEOUT_S", 0.01)
    outbox = AlertOutbox(tmp_path / "alerts.json", queue=True)
    outbox.add(an_alert(), "net", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with working(outbox, f"http://127.0.0.1:{silent.getsockname()[1]}/"):
            while not outbox.failures:
                await asyncio.sleep(0)
    assert "no answer within" in caplog.text


async def test_without_a_webhook_nothing_waits(tmp_path: Path) -> None:
    outbox = AlertOutbox(tmp_path / "alerts.json")
    outbox.add(an_alert(), "net", 1.0)
    assert not outbox.waiting


async def test_what_was_told_of_a_month_counts_in_that_month(tmp_path: Path) -> None:
    outbox = AlertOutbox(tmp_path / "alerts.json")
    assert outbox.told(CAP, "2026-11") == {}
    outbox.note(CAP, "2026-11", {Budget.MONTH: 50, Budget.TOTAL: 80})
    assert outbox.told(CAP, "2026-11") == {Budget.MONTH: 50, Budget.TOTAL: 80}
    assert outbox.told(CAP, "2026-12") == {Budget.MONTH: 0, Budget.TOTAL: 80}
    outbox.note(CAP, "2026-12", {})
    assert outbox.told(CAP, "2026-12") == {}


@pytest.mark.parametrize("text", ["[]", "{", '{"version": 2}', '{"version": 1, "told": [1], "waiting": []}'])
async def test_a_file_of_somebody_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "alerts.json").write_text(text)
    with pytest.raises(Corrupted, match="told from where they stand"):
        AlertOutbox(tmp_path / "alerts.json")


@pytest.mark.parametrize("url", ["ftp://host/", "host", "http://", "http://[::1"])
async def test_what_is_no_web_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSetting, match="alert_url"):
        AlertSender(AlertOutbox(tmp_path / "alerts.json"), url)


async def test_a_hub_delivers_and_raises_anew_what_a_crash_kept_from_being_noted(tmp_path: Path) -> None:
    hook = Webhook()
    async with (
        hook.serving(),
        RunningHub(tmp_path, settings=HubSettings(alert_url=hook.url)) as running,
    ):
        running.hub.set_cap(CAP)
        await until_kept(tmp_path / "alerts.json", 0)
        noted = (tmp_path / "alerts.json").read_bytes()
        account = running.hub.reactor.state.accounts.known["lab", "vision"]
        account.pay(85 * 10**9)
        running.hub.tell_alerts()
        assert [(await hook.taken.get())["percent"] for _ in range(2)] == [50, 80]
        while [row[-1] for row in (await until_kept(tmp_path / "alerts.json", 0))["told"] if row[-1]] != [80]:
            await asyncio.sleep(0)
        await running.stop()
        (tmp_path / "alerts.json").write_bytes(noted)
        await running.start()
        account = running.hub.reactor.state.accounts.known["lab", "vision"]
        account.pay(55 * 10**9)
        running.hub.tell_alerts()
        assert (await hook.taken.get())["percent"] == 50
