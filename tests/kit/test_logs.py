"""Logs carry their context, hide secrets, cannot be forged and never reach stdout."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from farlane.errors import Internal, NotFound
from farlane.kit import logs
from farlane.kit.keys import random_secret
from farlane.kit.logs import LogFormat, bind, bound, configure, redact

TOKEN = "fl1." + random_secret()
PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"
log = logging.getLogger("farlane.test.logs")


@pytest.fixture(autouse=True)
def restored_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def capture(style: LogFormat, level: str = "DEBUG") -> io.StringIO:
    stream = io.StringIO()
    configure(level, style, stream)
    return stream


def entry(stream: io.StringIO) -> dict[str, object]:
    (line,) = stream.getvalue().splitlines()
    content = json.loads(line)
    assert isinstance(content, dict)
    return content


def test_a_json_line_has_time_level_logger_and_message() -> None:
    stream = capture("json")
    log.warning("placed %d tasks", 3)
    line = entry(stream)
    assert (line["level"], line["logger"], line["message"]) == ("warning", log.name, "placed 3 tasks")
    assert str(line["time"]).endswith("Z")


def test_bound_fields_are_in_each_record_and_end_with_the_block() -> None:
    stream = capture("json")
    with bind(job="j1", lease=None), bind(task=4):
        log.info("inside", extra={"node": "n1", "seconds": 1.5})
    line = entry(stream)
    assert {key: line[key] for key in ("job", "task", "node", "seconds")} == {
        "job": "j1",
        "task": "4",
        "node": "n1",
        "seconds": 1.5,
    }
    assert "lease" not in line
    assert bound() == {}


async def test_tasks_inherit_what_was_bound_and_do_not_share_it() -> None:
    async def in_task(name: str) -> dict[str, str]:
        with bind(task=name):
            await asyncio.sleep(0)
            return dict(bound())

    with bind(job="j1"):
        found = await asyncio.gather(in_task("a"), in_task("b"))
    assert list(found) == [{"job": "j1", "task": "a"}, {"job": "j1", "task": "b"}]


def test_bound_fields_never_replace_the_message() -> None:
    stream = capture("json")
    with bind(message="forged", level="forged"):
        log.info("true")
    assert (entry(stream)["message"], entry(stream)["level"]) == ("true", "info")


def test_text_is_one_line_with_fields() -> None:
    stream = capture("text")
    with bind(job="j1"):
        log.info("placed")
    assert stream.getvalue().endswith(" INFO    test.logs: placed job=j1\n")


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_message_cannot_forge_a_line_or_drive_the_terminal(style: LogFormat) -> None:
    stream = capture(style)
    with bind(job="a\nb"):
        log.info("one\n12:00:00 ERROR forged \x1b[2J\x9b1m\r")
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    assert "\r" not in text


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_is_kept(style: LogFormat) -> None:
    stream = capture(style)
    try:
        raise NotFound("job j1 is not here \x1b[2J", job="j1")
    except NotFound:
        log.exception("failed", stack_info=True)
    text = stream.getvalue()
    assert "test_a_traceback_is_kept" in text
    assert "farlane.errors.NotFound: job j1 is not here" in text
    assert "Stack (most recent call last)" in text
    assert "\x1b" not in text


def test_the_facts_of_an_error_become_fields() -> None:
    stream = capture("json")
    try:
        raise NotFound("gone", job="j1", node="n9")
    except NotFound:
        with bind(job="bound first"):
            log.exception("failed")
    assert (entry(stream)["job"], entry(stream)["node"]) == ("bound first", "n9")


def test_exc_info_without_an_error_adds_nothing() -> None:
    stream = capture("json")
    log.error("calm", exc_info=True)  # noqa: LOG014 - there is no error: that is the case
    assert "exception" not in entry(stream)


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("secret", [TOKEN, PEM])
def test_secrets_are_cut_wherever_they_stand(style: LogFormat, secret: str) -> None:
    stream = capture(style)
    with bind(job=secret):
        try:
            raise ValueError(f"bad\n{secret} in error")
        except ValueError:
            log.exception("message %s", f"a\n{secret}", extra={"facts": [secret]}, stack_info=True)
    text = stream.getvalue()
    assert text.count("[redacted]") >= 4
    for part in (TOKEN[4:], "MIGHAgEA"):
        assert part not in text


def test_redaction_keeps_the_rest() -> None:
    assert redact(f"join --token {TOKEN} --name x") == "join --token [redacted] --name x"
    assert redact(f"JOIN {TOKEN.upper()}") == "JOIN [redacted]"
    assert redact(f"authorization: Bearer {random_secret()}, next") == "authorization: [redacted] next"
    assert redact("the bearer of news") == "the bearer of news"
    assert redact("fl1ght of fl1 and flag") == "fl1ght of fl1 and flag"
    assert redact("-----BEGIN EC PRIVATE KEY-----\ncut off") == "[redacted]"


def test_levels_below_the_least_are_dropped() -> None:
    stream = capture("text", "warning")
    log.info("quiet")
    assert stream.getvalue() == ""


def test_configuring_twice_writes_once() -> None:
    first, second = capture("text"), capture("text")
    log.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_stdout_is_refused() -> None:
    with pytest.raises(Internal, match="stdout"):
        configure(stream=sys.stdout)


def test_a_process_logs_to_stderr_only() -> None:
    code = "import logging; from farlane.kit.logs import configure; configure(); logging.info('hello')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == ""
    assert "INFO    root: hello" in done.stderr


def test_every_standard_attribute_of_a_record_stays_out_of_the_fields() -> None:
    stream = capture("json")
    log.info("plain")
    assert set(entry(stream)) == {"time", "level", "logger", "message"}
    assert logs.bound() == {}
