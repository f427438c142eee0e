"""Options of a function or a job file, read from the forms people write into the fields of a job specification."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from farlane.domain.jobs import DEFAULT_PRIORITY, DEFAULT_TIMEOUT_MS, Durability
from farlane.domain.resources import Resources
from farlane.domain.units import parse_bytes, parse_cpu_milli, parse_credits_floor, parse_seconds
from farlane.errors import InvalidInput, InvalidJob
from farlane.kit.suggestions import hint
from farlane.sdk.gpu import parse_gpu

MAX_PRIORITY = 100
MAX_RETRIES = 100
MAX_DURATION_S = 30 * 86400
MAX_LABELS = 64
_MIN_MEMORY_BYTES = 1 << 20
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
T = TypeVar("T")

Size = str | int
"""A size in bytes: `512MB`, `2GiB`, or a number of bytes."""
Duration = str | float
"""A duration: `90s`, `1h30m`, or a number of seconds."""
Deadline = str | float | datetime
"""A moment (aware datetime or ISO text), or a duration counted from the submission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What may be said of a job besides its work; the fields mean what they mean in `JobSpec`.

    `deadline` is kept as it was written: where it is a duration it starts with the submission.
    """

    resources: Resources = field(default_factory=Resources)
    priority: int = DEFAULT_PRIORITY
    retries: int = 0
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    deadline: Deadline | None = None
    max_price: int | None = None
    budget: int | None = None
    durability: Durability = Durability.DURABLE
    labels: tuple[tuple[str, str], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    estimate_ms: int | None = None
    requires: tuple[str, ...] = ()
    project: str = ""


def read_resources(
    cpu: str | float | None = None,
    memory: Size | None = None,
    gpu: str | int | None = None,
    disk: Size | None = None,
) -> Resources:
    """Return the resources of one task; what is None stays at its default.

    Raises:
        InvalidJob: an unreadable or impossible amount; `facts["field"]` names which.
    """
    wanted = Resources()
    return Resources(
        cpu_milli=wanted.cpu_milli if cpu is None else read("cpu", cpu, parse_cpu_milli),
        memory_bytes=wanted.memory_bytes if memory is None else read("memory", memory, _memory_bytes),
        disk_bytes=wanted.disk_bytes if disk is None else read("disk", disk, parse_bytes),
        gpu=parse_gpu(gpu),
    )


def read(key: str, value: object, parse: Callable[..., T]) -> T:
    """Return `parse(value)`, with the key in the message if it cannot be read.

    Raises:
        InvalidJob: it cannot.
    """
    if isinstance(value, bool):  # `cpu: true` would pass for 1
        raise InvalidJob(f"{key} is {str(value).lower()}; expected an amount", field=key, value=value)
    try:
        return parse(value)
    except InvalidInput as error:
        raise InvalidJob(f"{key}: {error.message}", **{**error.facts, "field": key}) from error


def read_int(key: str, value: object, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`.

    Raises:
        InvalidJob: it is not one.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidJob(
            f"{key} is {value!r}; expected a whole number from {low} to {high}", field=key, value=value
        )
    return value


def read_priority(value: object) -> int:
    """Return a priority, 0 to 100, higher first.

    Raises:
        InvalidJob: it is not one.
    """
    return read_int("priority", value, 0, MAX_PRIORITY)


def read_project(value: object) -> str:
    """Return a project's name: what the work is charged to inside its organisation.

    Raises:
        InvalidJob: it is not one.
    """
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise InvalidJob(
            f"project is {value!r}; expected at most 63 letters, digits, '.', '_', '/' or '-'",
            field="project",
        )
    return value


def read_milliseconds(key: str, value: object) -> int:
    """Return a duration in milliseconds, rounded up, of at most 30 days.

    Raises:
        InvalidJob: it is not one.
    """
    seconds = read(key, value, parse_seconds)
    if seconds > MAX_DURATION_S:
        raise InvalidJob(f"{key} is {value!r}; expected at most 30 days", field=key, value=str(value))
    return math.ceil(seconds * 1000)


def read_credits(key: str, value: object) -> int:
    """Return an amount of credits in nano-credits, rounded down.

    Raises:
        InvalidJob: it is not one.
    """
    return read(key, value, parse_credits_floor)


def read_durability(value: object) -> Durability:
    """Return `durable` or `relaxed`.

    Raises:
        InvalidJob: it is neither.
    """
    known = [kind.value for kind in Durability]
    if value not in known:
        raise InvalidJob(
            f"durability is {value!r}; expected 'durable' (acknowledged after the disk has it) or 'relaxed' "
            f"(at once); {hint(str(value), known)}",
            field="durability",
        )
    return Durability(value)


def read_env(env: Mapping[Any, Any]) -> tuple[tuple[str, str], ...]:
    """Return environment variables as sorted pairs.

    Raises:
        InvalidJob: a name or value that no process can be given.
    """
    for name, value in env.items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            raise InvalidJob(
                f"env: {name!r} is not a variable name; expected letters, digits and _", field="env"
            )
        if not isinstance(value, str) or "\0" in value:
            raise InvalidJob(f"env: {name} is {value!r}; expected a text without NUL", field="env")
    return tuple(sorted(env.items()))


def read_labels(labels: Mapping[Any, Any]) -> tuple[tuple[str, str], ...]:
    """Return labels that a node must have, as sorted pairs.

    Raises:
        InvalidJob: too many, or not short names.
    """
    if len(labels) > MAX_LABELS:
        raise InvalidJob(f"labels: {len(labels)} of them; expected at most {MAX_LABELS}", field="labels")
    for name, value in labels.items():
        for text in (name, value):
            if not isinstance(text, str) or not _LABEL.fullmatch(text):
                raise InvalidJob(
                    f"labels: {text!r} is not a label; expected at most 63 letters, digits, '.', '_', '/' or '-', "
                    "such as zone: north",
                    field="labels",
                )
    return tuple(sorted(labels.items()))


def read_deadline(deadline: Deadline | None, now: float) -> float | None:
    """Return a deadline in unix seconds.

    Args:
        deadline: a moment with its time zone, or a duration from `now`.
        now: unix seconds.

    Raises:
        InvalidJob: unreadable, without a time zone, or already past.
    """
    if deadline is None:
        return None
    moment = deadline if isinstance(deadline, datetime) else _iso_moment(deadline)
    if moment is None:
        return now + read_milliseconds("deadline", deadline) / 1000
    if moment.tzinfo is None:
        raise InvalidJob(
            f"deadline {moment.isoformat()} has no time zone; write it like 2030-01-31T12:00:00+00:00 or as a "
            "duration such as '2h'",
            field="deadline",
        )
    if moment.timestamp() <= now:
        raise InvalidJob(
            f"deadline {moment.isoformat()} has passed; expected a moment to come", field="deadline"
        )
    return moment.timestamp()


def _iso_moment(text: str | float) -> datetime | None:
    if not isinstance(text, str) or not re.match(r"\d{4}-", text.strip()):
        return None
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidJob(
            f"deadline {text!r} cannot be read; expected something like 2030-01-31T12:00:00+00:00 or '2h'",
            field="deadline",
        ) from error


def _memory_bytes(value: Size) -> int:
    size = parse_bytes(value)
    if size < _MIN_MEMORY_BYTES:
        raise InvalidInput(
            f"{value!r} is {size} bytes, too little for any task; write a unit, such as '{value}GB'"
        )
    return size
