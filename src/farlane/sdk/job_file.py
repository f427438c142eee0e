"""Job files: the YAML that `farlane apply` reads, checked key by key, as a specification and the files it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from farlane.domain.ids import MAX_TASKS_PER_JOB
from farlane.domain.jobs import DEFAULT_PRIORITY, DEFAULT_TIMEOUT_MS, CommandWork, Durability, JobSpec
from farlane.domain.resources import Resources
from farlane.errors import FarlaneError, InvalidJob, NotFound, TooLarge
from farlane.kit.hashing import sha256_hex
from farlane.kit.suggestions import hint
from farlane.sdk import options
from farlane.sdk.local_files import LocalFile, input_files, relative_target, working_directory
from farlane.sdk.strict_yaml import Located, read_yaml, refused

KEYS = (
    "name", "resources", "workdir", "setup", "run", "env", "retry", "priority", "max_duration", "deadline",
    "max_price", "budget", "inputs", "outputs", "tasks", "durability", "labels", "estimate", "project",
)  # fmt: skip
"""Keys that mean something today."""
NOT_BUILT = ("image", "secrets", "ports", "nodes", "model", "verify")
"""Keys of the format that this version cannot honour: refused, never ignored."""
RESOURCE_KEYS = ("cpu", "memory", "gpu", "disk")
_MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class JobFile:
    """A checked job file: the specification without its input files, how many tasks, and the files to send."""

    spec: JobSpec
    tasks: int
    files: tuple[LocalFile, ...]


def load_job_file(path: Path, now: float) -> JobFile:
    """Read a job file; relative paths in it start at its own directory.

    Args:
        path: the YAML file.
        now: unix seconds, from which a deadline such as `2h` counts.

    Raises:
        NotFound: there is no such file.
        InvalidJob: something in it is wrong; the message names the line and what was expected.
        TooLarge: the file or its inputs are.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFound(f"job file {str(path)!r} cannot be read: {error.strerror}", path=str(path)) from error
    return parse_job_file(data, path.name, path.parent, now)


def parse_job_file(data: bytes, source: str, directory: Path, now: float) -> JobFile:
    """Check the bytes of a job file.

    Args:
        data: YAML, UTF-8.
        source: the file's name, for messages.
        directory: where relative paths start.
        now: unix seconds.

    Raises:
        InvalidJob: something in it is wrong; the message names the line and what was expected.
        TooLarge: the file or its inputs are.
    """
    root = read_yaml(data, source)
    entries = _Entries(source, root, "the job file")
    entries.check_keys(KEYS, NOT_BUILT)
    if "run" not in entries:
        raise refused(
            source, root.line, "key 'run' is missing; expected the command to run, such as 'run: python x.py'"
        )
    return JobFile(
        _spec(entries, now), entries.whole("tasks", 1, MAX_TASKS_PER_JOB, 1), _files(entries, directory)
    )


class _Entries:
    """One mapping of the file with readers that put the line in front of every error."""

    def __init__(self, source: str, node: Located, what: str) -> None:
        self.source = source
        self._what = what
        if not isinstance(node.value, dict):
            raise refused(
                source, node.line, f"{what} is {_shown(node)}; expected a mapping of keys to values"
            )
        self._values: Mapping[str, Located] = {
            key: value for key, value in node.value.items() if value.value is not None or key in NOT_BUILT
        }
        self._lines = {key: value.line for key, value in node.value.items()}

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def check_keys(self, known: tuple[str, ...], not_built: tuple[str, ...] = ()) -> None:
        """Refuse keys that nobody knows, and those that this version cannot honour."""
        for key, line in self._lines.items():
            if key == "nodes" and key in not_built and self._values[key].value == 1:
                continue
            if key in not_built:
                raise refused(
                    self.source, line, f"{key!r} is known, but not available in this version; remove it"
                )
            if key not in known:
                raise refused(
                    self.source, line, f"unknown key {key!r} in {self._what}; {hint(key, known)}", key=key
                )

    def located(self, key: str) -> Located | None:
        """Return a value with its place, None where the key is missing or empty."""
        return self._values.get(key)

    def read(self, key: str, parse: Callable[[Any], Any], default: Any = None) -> Any:
        """Return `parse(value)`, or the default where the key is missing."""
        found = self._values.get(key)
        if found is None:
            return default
        if isinstance(found.value, (dict, list)):
            raise refused(self.source, found.line, f"{key} is {_shown(found)}; expected a single value")
        return self.checked_with(parse, found.line, found.value)

    def checked_with(self, check: Callable[..., Any], line: int, *values: Any) -> Any:
        """Return `check(*values)`, with the line in front of its errors."""
        try:
            return check(*values)
        except FarlaneError as error:
            kind = TooLarge if isinstance(error, TooLarge) else InvalidJob
            facts = {**error.facts, "source": self.source, "line": line}
            raise kind(f"{self.source}:{line}: {error.message}", **facts) from error

    def text(self, key: str, default: str = "") -> str:
        """Return a text."""
        found = self._values.get(key)
        if found is None:
            return default
        if not isinstance(found.value, str):
            raise refused(self.source, found.line, f"{key} is {_shown(found)}; expected a text (quote it)")
        if "\0" in found.value:
            raise refused(self.source, found.line, f"{key} contains a NUL character; remove it")
        return found.value

    def whole(self, key: str, low: int, high: int, default: int) -> int:
        """Return a whole number."""
        found: int = self.read(key, lambda value: options.read_int(key, value, low, high), default)
        return found

    def pairs(self, key: str, read: Callable[[dict[str, str]], tuple[tuple[str, str], ...]]) -> Any:
        """Return a mapping of texts, each as it was written: `yes` and `0755` stay what they are."""
        found = self._values.get(key)
        if found is None:
            return ()
        entries = _Entries(self.source, found, key)
        texts = {name: entries.scalar_text(name) for name in entries._lines}
        return self.checked_with(read, found.line, texts)

    def scalar_text(self, key: str) -> str:
        """Return a scalar's own characters."""
        found = self._values.get(key)
        if found is None or isinstance(found.value, (dict, list)):
            what = "empty" if found is None else _shown(found)
            raise refused(
                self.source, self._lines[key], f"{self._what}: {key} is {what}; expected a text (quote it)"
            )
        return found.text


def _profile(command: CommandWork) -> str:
    """Return under what run times are learnt: what runs, whatever the job is called."""
    return "command:" + sha256_hex("\n".join((command.setup, command.run)).encode())[:16]


def _spec(entries: _Entries, now: float) -> JobSpec:
    name = entries.text("name", Path(entries.source).stem)[:_MAX_NAME_CHARS] or "job"
    command = CommandWork(run=_script(entries), setup=entries.text("setup"), outputs=_outputs(entries))
    return JobSpec(
        name=name,
        profile=_profile(command),
        command=command,
        resources=_resources(entries),
        priority=entries.read("priority", options.read_priority, DEFAULT_PRIORITY),
        retries=entries.whole("retry", 0, options.MAX_RETRIES, 0),
        timeout_ms=_milliseconds(entries, "max_duration", DEFAULT_TIMEOUT_MS),
        deadline_at=entries.read("deadline", lambda value: options.read_deadline(value, now)),
        max_price=entries.read("max_price", lambda value: options.read_credits("max_price", value)),
        budget=entries.read("budget", lambda value: options.read_credits("budget", value)),
        durability=entries.read("durability", options.read_durability, Durability.DURABLE),
        labels=entries.pairs("labels", options.read_labels),
        env=entries.pairs("env", options.read_env),
        estimate_ms=_milliseconds(entries, "estimate", None),
        project=entries.read("project", options.read_project, ""),
    )


def _script(entries: _Entries) -> str:
    script = entries.text("run")
    if not script.strip():
        found = entries.located("run")
        raise refused(entries.source, found.line if found else 1, "run is empty; expected the command to run")
    return script


def _milliseconds(entries: _Entries, key: str, default: int | None) -> Any:
    return entries.read(key, lambda value: options.read_milliseconds(key, value), default)


def _resources(entries: _Entries) -> Resources:
    found = entries.located("resources")
    if found is None:
        return Resources()
    inner = _Entries(entries.source, found, "resources")
    inner.check_keys(RESOURCE_KEYS)
    # One key at a time, so that an error names the line of the key it is about.
    given = {key: inner.read(key, _checked_resource(key)) for key in RESOURCE_KEYS}
    return options.read_resources(**given)


def _checked_resource(key: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        options.read_resources(**{key: value})
        return value

    return check


def _outputs(entries: _Entries) -> tuple[str, ...]:
    checked = partial(entries.checked_with, relative_target)
    return tuple(str(checked(line, path)) for path, line in _paths(entries, "outputs"))


def _files(entries: _Entries, directory: Path) -> tuple[LocalFile, ...]:
    files: dict[str, LocalFile] = {}
    found = entries.located("workdir")
    if found is not None:
        root = directory / Path(entries.text("workdir")).expanduser()
        files.update((file.path, file) for file in entries.checked_with(working_directory, found.line, root))
    for target, source, line in _inputs(entries):
        place = directory / Path(source).expanduser()
        files.update((file.path, file) for file in entries.checked_with(input_files, line, target, place))
    return tuple(files.values())


def _inputs(entries: _Entries) -> list[tuple[str, str, int]]:
    found = entries.located("inputs")
    if found is not None and isinstance(found.value, dict):
        inner = _Entries(entries.source, found, "inputs")
        return [(target, inner.scalar_text(target), value.line) for target, value in found.value.items()]
    return [(_target_of(Path(path)), path, line) for path, line in _paths(entries, "inputs")]


def _target_of(path: Path) -> str:
    # `data/part.csv` is found where it was; what lies outside is found by its name.
    outside = path.is_absolute() or ".." in path.parts or path.parts[:1] == ("~",)
    return path.name if outside else path.as_posix()


def _paths(entries: _Entries, key: str) -> list[tuple[str, int]]:
    found = entries.located(key)
    if found is None:
        return []
    if not isinstance(found.value, list) or any(not isinstance(item.value, str) for item in found.value):
        raise refused(
            entries.source, found.line, f"{key} is {_shown(found)}; expected a list of paths ('- data.csv')"
        )
    return [(item.value, item.line) for item in found.value]


def _shown(node: Located) -> str:
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    return "empty" if node.value is None else repr(node.text)
