"""Make docs/reference/*.md from the code: commands, settings, metrics, job file, Python API and errors.

    python scripts/generate_reference.py           write the pages
    python scripts/generate_reference.py --check   compare with what is checked in, write nothing

Whatever has no description makes this fail: a command, option, setting or metric nobody can look up is not finished.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

import farlane
import reference_words as words
from farlane import errors
from farlane.app.configuration import OTHER_VARIABLES
from farlane.cli.main import COMMANDS, cli
from farlane.domain.failures import MAX_FREE_ATTEMPTS, MAX_MOVES, RULES
from farlane.domain.jobs import MAX_RESULT_BYTES
from farlane.domain.units import bytes_text
from farlane.hub.deciding.metrics import METRICS as DECIDING_METRICS
from farlane.hub.gateway.metrics import METRICS as GATEWAY_METRICS
from farlane.hub.metrics import METRICS as HUB_METRICS
from farlane.hub.settings import HubSettings
from farlane.kit.settings import FieldDocumentation, documentation, variable
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.node.metering import METRICS as NODE_METRICS
from farlane.node.settings import NodeSettings
from farlane.sdk import direct_task, facade, functions, job_file, jobs, values
from reference_markdown import Undescribed, described, page, table

ROOT = Path(__file__).resolve().parent.parent
PAGES = Path("docs/reference")
RETURNED = (
    functions.Remote, functions.Map, facade.Job, jobs.JobHandle, values.Quote, values.JobStatus,
    values.Explanation, values.NodeStatus, values.LogChunk, direct_task.DirectRun,
)  # fmt: skip
"""What the public names hand out."""


STARS = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}


def command_line() -> str:
    """Return the page of every command."""
    parts = [
        "Every command takes `-h`. Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 "
        "misused, 130 interrupted or not agreed to.",
        table(
            ("command", ""),
            [(f"[{name}](#{name})", described(name, text)) for name, (_, text) in COMMANDS.items()],
        ),
    ]
    context = click.Context(cli, info_name="farlane")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is None:
            raise Undescribed(f"command {name} is in the table but not in the program")
        parts += sections(name, command, context)
    return page("Commands", *parts)


def sections(name: str, command: click.Command, parent: click.Context) -> list[str]:
    """Return the section of a command, followed by those of its subcommands."""
    found = [one_command(name, command, parent)]
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name.rsplit(maxsplit=1)[-1], parent=parent)
        for part in command.list_commands(context):
            below = command.get_command(context, part)
            assert below is not None  # it is in the group's own list
            found += sections(f"{name} {part}", below, context)
    return found


def one_command(name: str, command: click.Command, parent: click.Context) -> str:
    """Return the section of one command."""
    context = click.Context(command, info_name=name.rsplit(maxsplit=1)[-1], parent=parent)
    text = inspect.cleandoc(command.help or "")
    described(f"command {name}", text)
    rows = []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Argument):
            shown = parameter.human_readable_name.rstrip(".")
            if shown not in text:
                raise Undescribed(f"argument {shown} of command {name} is not mentioned in its help")
        elif isinstance(parameter, click.Option) and not parameter.hidden and "--help" not in parameter.opts:
            record = parameter.get_help_record(context)
            shown, meaning = record if record is not None else (parameter.opts[0], "")
            rows.append((f"`{shown}`", described(f"option {shown} of command {name}", meaning)))
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    parts = [f"## {name}", f"    {usage}", text]
    return "\n\n".join([*parts, table(("option", ""), rows)] if rows else parts)


def settings() -> str:
    """Return the page of every setting."""
    shown = {
        "max_result_bytes": MAX_RESULT_BYTES,
        "python": "the node's own",
        "scratch_dir": "below the node's directory",
    }
    return page(
        "Settings",
        "Each value is the last that is given by: the default, a configuration file (`--config` of `farlane up` and "
        "`farlane join`; TOML or YAML, one table per group), the environment, a flag (`--set hub.lease_s=20` of "
        "`farlane up`, `--set cpu=4` of `farlane join`, their other options). An unknown name is an error, in the "
        "environment too: a misspelt FARLANE_ variable keeps the process from starting.",
        "`farlane up` hands its environment to the hub and to the nodes it starts, and remembers its options and the "
        "place of its configuration file for the next time. What it gives to all nodes (`--set node.FIELD=...`) goes "
        "before what it gave to one earlier; places and names (`hub.directory`, `node.directory`, `node.name`) are "
        "its own choice.",
        "## The hub: group `hub`", group("hub", HubSettings),
        "## A node: group `node`", group("node", NodeSettings),
        "## The process executor",
        "Set by the node itself in this version; here to be looked up.",
        table(("value", "type", "is", "meaning"),
              [(f"`{line.name}`", line.type, default(line, shown), described(line.name, line.doc))
               for line in documentation(ProcessExecutorSettings)]),
        "## Other environment variables",
        table(("variable", "meaning"),
              [(f"`{name}`", described(name, words.VARIABLES.get(name))) for name in OTHER_VARIABLES]),
    )  # fmt: skip


def group(name: str, kind: type) -> str:
    """Return the table of one group of settings."""
    rows = [
        (
            f"`{line.name}`",
            f"`{variable(name, line.name)}`",
            line.type,
            default(line, {}),
            described(line.name, line.doc),
        )
        for line in documentation(kind)
    ]
    return table(("setting", "environment", "type", "default", "meaning"), rows)


def default(line: FieldDocumentation, shown: dict[str, object]) -> str:
    """Return a default for people; `shown` replaces what depends on the machine or is set elsewhere."""
    value = shown.get(line.name, line.default)
    if value is None or value == ():
        return "none"
    if isinstance(value, int) and "bytes" in line.name.split("_"):
        return f"`{value}` ({bytes_text(value)})"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return str(value) if line.name in shown else f"`{value}`"


def metrics() -> str:
    """Return the page of every metric."""
    hub = [
        (f"`{total(metric.name, metric.counter)}`", "counter" if metric.counter else "gauge", "",
         described(metric.name, metric.meaning))
        for metric in HUB_METRICS
    ]  # fmt: skip
    node = [
        (f"`{total(metric.name, metric.type == 'counter')}`", metric.type, metric.label,
         described(metric.name, metric.help))
        for metric in NODE_METRICS
    ]  # fmt: skip
    gateway = [
        (f"`{total(metric.name, metric.type == 'counter')}`", metric.type, ", ".join(metric.labels),
         described(metric.name, metric.meaning))
        for metric in GATEWAY_METRICS
    ]  # fmt: skip
    deciding = [
        (f"`{total(metric.name, metric.type == 'counter')}`", metric.type, ", ".join(metric.labels),
         described(metric.name, metric.meaning))
        for metric in DECIDING_METRICS
    ]  # fmt: skip
    headings = ("metric", "type", "label", "meaning")
    return page(
        "Metrics",
        "Prometheus text format at `/metrics` on 127.0.0.1; off until a port is given ([how to](../howto/metrics.md)).",
        "## The hub: `hub.metrics_port`", table(headings, hub + deciding),
        "## The gateway: `hub.metrics_port`, and `/metrics` of the gateway with a token of the hub's owner",
        table(headings, gateway),
        "## A node: `node.metrics_port`", table(headings, node),
    )  # fmt: skip


def total(name: str, counter: bool) -> str:
    """Return a metric's name as Prometheus sees it."""
    return name if not counter or name.endswith("_total") else f"{name}_total"


def job_keys() -> str:
    """Return the page of the job file."""
    return page(
        "Job file",
        "YAML for `farlane apply` and `farlane.load_job_file`. Relative paths start at the file's own directory. An "
        "unknown key is an error that names the nearest known one; durations are `90s`, `5m`, `1h30m`; sizes `512MB`, "
        "`2GiB`; money is in credits.",
        "## Keys", key_table(job_file.KEYS, words.JOB_KEYS),
        "## Below `resources`", key_table(job_file.RESOURCE_KEYS, words.RESOURCE_KEYS),
        "## Known, but refused in this version",
        table(("key", "will mean"),
              [(f"`{key}`", described(f"key {key}", words.NOT_BUILT.get(key))) for key in job_file.NOT_BUILT]),
    )  # fmt: skip


def key_table(keys: Sequence[str], known: dict[str, tuple[str, str, str]]) -> str:
    """Return the table of some keys, complete and with nothing that is not there."""
    gone = known.keys() - set(keys)
    if gone:
        raise Undescribed(f"scripts/reference_words.py describes keys that do not exist: {sorted(gone)}")
    rows = []
    for key in keys:
        takes, otherwise, meaning = known.get(key, ("", "", ""))
        rows.append((f"`{key}`", takes, otherwise, described(f"key {key}", meaning)))
    return table(("key", "takes", "default", "meaning"), rows)


def python_api() -> str:
    """Return the page of the public Python names."""
    names = [name for name in vars(farlane)["__all__"] if name != "errors" and not is_error(name)]
    parts = [
        "`import farlane`; every name is loaded on first use. The errors have [a page of their own](errors.md), and "
        "each is at `farlane.errors.NAME` and `farlane.NAME`.",
        *(api_section(f"farlane.{name}", getattr(farlane, name)) for name in names),
        "## What these hand out",
        *(api_section(kind.__name__, kind) for kind in RETURNED),
    ]
    return page("Python", *parts)


def is_error(name: str) -> bool:
    """Tell whether a public name is a class of the error tree."""
    return name in errors.leaves()


def api_section(shown: str, thing: Any) -> str:
    """Return the section of a class or function."""
    parts = [f"### {shown}", f"```python\n{signature(shown, thing)}\n```", docstring(shown, thing)]
    for name, member in public_members(thing) if inspect.isclass(thing) else ():
        label = f"{shown}.{name}"
        if isinstance(member, property):
            parts.append(f"**`{name}`** {docstring(label, member)}")
        else:
            inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            parts.append(f"**`{signature(name, inner)}`**\n\n{docstring(label, inner)}")
    return "\n\n".join(parts)


def public_members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the methods and properties of a class that carry a description of ours, in the order of the source."""
    for name, member in vars(kind).items():
        wanted = isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)
        if wanted and (not name.startswith("_") or name == "__call__") and not name.endswith("_on_loop"):
            yield name, member


def signature(name: str, thing: Any) -> str:
    """Return a call as people write it: `name(self-less parameters) -> what comes back`."""
    found = inspect.signature(thing)
    parts: list[str] = []
    keywords_only = False
    for parameter in found.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords_only:
            parts.append("*")
        keywords_only = keywords_only or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        parts.append(one_parameter(parameter))
    returns = "" if inspect.isclass(thing) else returned(found.return_annotation)
    waits = "async " if inspect.iscoroutinefunction(thing) else ""
    return f"{waits}{name}({', '.join(parts)}){returns}"


def one_parameter(parameter: inspect.Parameter) -> str:
    """Return one parameter with its type and default."""
    stars = STARS.get(parameter.kind.name, "")
    text = stars + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {parameter.annotation}"
    if parameter.default is not parameter.empty:
        text += f" = {getattr(parameter.default, '__name__', None) or repr(parameter.default)}"
    return text


def returned(annotation: object) -> str:
    """Return the arrow and the type behind it."""
    return "" if annotation is inspect.Signature.empty else f" -> {annotation}"


def docstring(what: str, thing: Any) -> str:
    """Return a Google-style docstring as Markdown: sections become lists."""
    text = inspect.getdoc(thing)
    described(what, text)
    blocks = []
    for block in (text or "").split("\n\n"):
        heading = re.match(r"(Args|Raises|Returns|Attributes):\n", block)
        blocks.append(entries(heading[1], block[heading.end() :]) if heading else block)
    return "\n\n".join(blocks)


def entries(heading: str, body: str) -> str:
    """Return one section of a docstring as a list."""
    lines = inspect.cleandoc(body).splitlines()
    joined: list[str] = []
    for line in lines:
        if line.startswith(" ") and joined:
            joined[-1] += " " + line.strip()
        else:
            joined.append(line.strip())
    items = [re.sub(r"^(\*{0,2}\w+): ", r"`\1`: ", line) for line in joined]
    return "\n".join([f"{heading}:", "", *(f"* {item}" for item in items)])


def error_tree() -> str:
    """Return the page of errors and failures."""
    rows = [
        ("&nbsp;&nbsp;" * (len(kind.__mro__) - len(errors.FarlaneError.__mro__)) + f"`{name}`",
         described(name, (kind.__doc__ or "").split("\n\n")[0]), kind.grpc_code, str(kind.http_status))
        for name, kind in errors.leaves().items()
    ]  # fmt: skip
    failures = [
        (f"`{kind.value}`", described(f"failure {kind.value}", words.FAILURES.get(kind.value)),
         rule.blame.value, "yes" if rule.paid else "no", rule.again)
        for kind, rule in RULES.items()
    ]  # fmt: skip
    return page(
        "Errors and failures",
        "## Errors",
        "Raised in Python and printed by the commands; one gRPC code and one HTTP status each. `error.message` is for "
        "people, `error.facts` for programs.",
        table(("error", "when", "gRPC", "HTTP"), rows),
        "## Failures of a task",
        "How an attempt can end without a result, who is to blame, whether it is paid, and whether it runs again: "
        f"*free* (elsewhere, without using up a retry, at most {MAX_FREE_ATTEMPTS} times), *counted* (uses one of the "
        f"job's retries), *moved* (makes room for others, without using up anything, at most {MAX_MOVES} times) or "
        "*never*.",
        table(("kind", "what happened", "blame", "paid", "again"), failures),
    )  # fmt: skip


MAKERS: dict[str, Callable[[], str]] = {
    "cli.md": command_line,
    "settings.md": settings,
    "metrics.md": metrics,
    "job-file.md": job_keys,
    "python.md": python_api,
    "errors.md": error_tree,
}


def main(argv: list[str] | None = None) -> int:
    """Write or compare; 1 when the comparison finds a difference or a description is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if something differs")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout whose pages are read and written")
    arguments = parser.parse_args(argv)
    folder = arguments.root / PAGES
    try:
        wanted = {name: make() for name, make in MAKERS.items()}
    except Undescribed as problem:
        print(f"the reference is not complete: {problem}", file=sys.stderr)
        return 1
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    stale = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if arguments.check:
        if stale:
            print(
                f"the reference is not up to date: {', '.join(stale)}; run `make reference`", file=sys.stderr
            )
        return 1 if stale else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    print(f"{len(wanted)} pages in {PAGES}, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
