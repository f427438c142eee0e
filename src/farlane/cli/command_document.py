"""The options of `farlane run` as the job file that says the same, and its errors in the words of the options."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from farlane.errors import FarlaneError, InvalidJob, TooLarge
from farlane.sdk.job_file import JobFile, parse_job_file

SOURCE = "the command line"
RESOURCES = ("cpu", "memory", "disk", "gpu")
SPELT_OTHERWISE = {"inputs": "--input", "outputs": "--output", "run": "COMMAND"}
_MAX_NAME_CHARS = 60


def job_of_command(command: tuple[str, ...], options: dict[str, Any], now: float) -> JobFile:
    """Return the checked job of a command line.

    Args:
        command: the words behind the options; one word alone is a shell script.
        options: of `farlane run`, by their names.
        now: unix seconds.

    Raises:
        InvalidJob: an option is wrong; the message begins with its name.
        TooLarge: the input files are.
    """
    text = yaml.safe_dump(_document(command, options), sort_keys=False)
    try:
        return parse_job_file(text.encode(), SOURCE, Path.cwd(), now)
    except (InvalidJob, TooLarge) as error:
        raise _about_option(error, text) from error


def _document(command: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    text = command[0] if len(command) == 1 else shlex.join(command)
    left = dict(options)
    sizes = {key: value for key in RESOURCES if (value := left.pop(key)) is not None}
    env = dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in left.pop("env"))
    document: dict[str, Any] = {"name": left.pop("name") or _program(command), "run": text}
    if sizes:
        document["resources"] = sizes
    if env:
        document["env"] = env
    document |= {key: values for key in ("inputs", "outputs") if (values := list(left.pop(key)))}
    return document | {key: value for key, value in left.items() if value is not None}


def _program(command: tuple[str, ...]) -> str:
    """Return the name of what is run, as far as it can be told: a script may be anything."""
    words = command[0].split()
    return Path(words[0].strip("'\"")).name[:_MAX_NAME_CHARS] if words else "command"


def _about_option(error: FarlaneError, text: str) -> FarlaneError:
    """Return an error about a line of the job file as one about the option that the line came from."""
    line = error.facts.get("line")
    option = _options_by_line(text).get(line) if isinstance(line, int) else None
    message = error.message.removeprefix(f"{SOURCE}:{line}: ")
    if option is not None:
        message = message.removeprefix(f"{option.strip('-').replace('-', '_')}: ")
    facts = {key: value for key, value in error.facts.items() if key not in ("line", "source")}
    return type(error)(f"{option}: {message}" if option else message, **facts)


def _options_by_line(text: str) -> dict[int, str]:
    found: dict[int, str] = {}
    root = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # it was made of a mapping
    for key, value in root.value:
        parts = value.value if key.value == "resources" else [(key, value)]
        for name, place in parts:
            lines = range(name.start_mark.line, place.end_mark.line + 1)
            found |= dict.fromkeys((line + 1 for line in lines), _option(name.value))
    return found


def _option(key: str) -> str:
    return SPELT_OTHERWISE.get(key) or f"--{key.replace('_', '-')}"
