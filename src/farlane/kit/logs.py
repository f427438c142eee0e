"""Structured logs on stderr: JSON lines or text, with the bound job, task, lease and node, without tokens."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Literal, TextIO

from farlane.errors import FarlaneError, Internal

LogFormat = Literal["json", "text"]

_bound: ContextVar[Mapping[str, str]] = ContextVar("farlane_bound_log_fields", default=MappingProxyType({}))
_SECRETS = re.compile(
    r"(?i:fl1)[A-Za-z0-9_.~=-]{8,}"
    r"|(?i:bearer)[ =:]+[!-~]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_REDACTED = "[redacted]"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What a stranger can get into a message must not forge lines or drive the terminal.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x09} | {
    0x0A: "\\n"
}
_CONTROL_BUT_NEWLINE = {code: text for code, text in _CONTROL.items() if code != 0x0A}


@contextlib.contextmanager
def bind(**fields: object) -> Iterator[None]:
    """Write these fields into every record of this task or thread, and of tasks started inside the block.

    Args:
        **fields: usually `job`, `task`, `lease` or `node`; a None is left out.
    """
    added = {name: str(value) for name, value in fields.items() if value is not None}
    token = _bound.set(MappingProxyType({**_bound.get(), **added}))
    try:
        yield
    finally:
        _bound.reset(token)


def bound() -> Mapping[str, str]:
    """Return the fields bound at present."""
    return _bound.get()


def redact(text: str) -> str:
    """Return `text` with every farlane token (`fl1...`), bearer secret and PEM private key replaced."""
    return _SECRETS.sub(_REDACTED, text)


def configure(
    level: str = "INFO", style: LogFormat = "text", stream: TextIO | None = None
) -> logging.Handler:
    """Send all logs of this process to stderr; a second call replaces the first one's handler.

    Args:
        level: least level written: DEBUG, INFO, WARNING or ERROR.
        style: `json` for one JSON object a line, `text` for people.
        stream: where to write instead of stderr.

    Returns:
        The installed handler.

    Raises:
        Internal: if `stream` is stdout, which belongs to data.
    """
    if stream is not None and stream is sys.stdout:
        raise Internal("logs must not go to stdout, which carries data: use stderr")
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    handler.set_name("farlane")
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == "farlane"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry: dict[str, object] = {
            "time": _moment(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        entry |= {name: value for name, value in _fields(record).items() if name not in entry}
        if traceback := _traceback(self, record):
            entry["exception"] = redact(traceback)
        return json.dumps(entry, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One line for people (UTC), then the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text; control characters in it are escaped."""
        name = record.name.removeprefix("farlane.")
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        time = _moment(record).strftime("%H:%M:%S.%f")[:-3]
        head = f"{time} {record.levelname:<7} {name}: {redact(record.getMessage())}{fields}".translate(
            _CONTROL
        )
        traceback = redact(_traceback(self, record)).translate(_CONTROL_BUT_NEWLINE)
        return f"{head}\n{traceback}" if traceback else head


def _moment(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC)


def _fields(record: logging.LogRecord) -> dict[str, str | int | float | bool]:
    """Return the bound fields, the `extra` ones and the facts of a logged error, redacted."""
    fields: dict[str, object] = dict(_bound.get())
    fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, FarlaneError):
        fields |= {name: value for name, value in error.facts.items() if name not in fields}
    return {
        name: value if isinstance(value, (bool, int, float)) else redact(str(value))
        for name, value in fields.items()
    }


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
