"""Settings as frozen dataclass groups, read once: defaults < file < environment < flags.

    @dataclass(frozen=True)
    class HubSettings:
        port: int = 7433
        \"\"\"TCP port the hub listens on; 0 takes a free one.\"\"\"

    @dataclass(frozen=True)
    class Settings:
        hub: HubSettings = HubSettings()

    read(Settings, file=Path("farlane.toml"), environment=os.environ, flags={"hub.port": 7000})

The same setting is `port` under `[hub]` in the file, FARLANE_HUB_PORT in the environment and `hub.port`
in the flags.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from farlane.errors import Internal, InvalidSetting
from farlane.kit.conversion import convert, type_name
from farlane.kit.suggestions import hint

T = TypeVar("T")

PREFIX = "FARLANE_"

_Key = tuple[str, str]  # group, field


class _Given(NamedTuple):
    raw: object
    origin: str


class FieldDocumentation(NamedTuple):
    """One line of the generated settings reference."""

    name: str
    type: str
    default: object
    doc: str


def read(
    root: type[T],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    other_variables: Collection[str] = (),
) -> T:
    """Return the settings, each from the last of its sources that gives it.

    Args:
        root: a dataclass whose every field is a group: a dataclass of settings.
        file: TOML, or YAML if it ends in .yaml or .yml; None for no file.
        environment: usually `os.environ`.
        flags: command-line flags, `group.field` to value; a None counts as not given.
        other_variables: FARLANE_ variables that are read elsewhere and are no mistake.

    Raises:
        InvalidSetting: for an unknown key, a value that cannot be read, or a file that cannot.
    """
    kinds = _kinds(root)
    given = _from_file(file, kinds) if file is not None else {}
    given |= _from_environment(environment or {}, kinds, other_variables)
    given |= _from_flags(flags or {}, kinds)
    defaults = root()
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(defaults):  # type: ignore[arg-type]
        values = {
            name: convert(value.raw, kinds[group, name], value.origin)
            for (group, name), value in given.items()
            if group == field.name
        }
        groups[field.name] = dataclasses.replace(getattr(defaults, field.name), **values)
    return root(**groups)


def variable(group: str, field: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{group}_{field}".upper()


def documentation(group: type) -> list[FieldDocumentation]:
    """Return name, type, default and docstring of each setting of a group, in order.

    Args:
        group: a dataclass with a string literal under each field.

    Raises:
        Internal: if a setting has no docstring: a setting nobody can look up is not finished.
    """
    docs: dict[str, str] = {}
    for owner in reversed(group.__mro__):
        if dataclasses.is_dataclass(owner):
            docs |= _docstrings(owner)
    kinds = get_type_hints(group)
    lines = []
    for field in dataclasses.fields(group):
        if field.name not in docs:
            raise Internal(
                f"setting {group.__name__}.{field.name} has no docstring: write one right under the field"
            )
        lines.append(
            FieldDocumentation(field.name, type_name(kinds[field.name]), _default(field), docs[field.name])
        )
    return lines


def _default(field: dataclasses.Field[Any]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _docstrings(owner: type) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            docs[field.target.id] = inspect.cleandoc(below.value.value)
    return docs


def _kinds(root: type) -> dict[_Key, Any]:
    kinds: dict[_Key, Any] = {}
    for group, kind in get_type_hints(root).items():
        if not dataclasses.is_dataclass(kind):
            raise Internal(f"{root.__name__}.{group} is no group of settings: its type must be a dataclass")
        kinds |= {(group, name): field_kind for name, field_kind in get_type_hints(kind).items()}
    return kinds


def _from_file(file: Path, kinds: Mapping[_Key, Any]) -> dict[_Key, _Given]:
    content = _load(file)
    groups = {group for group, _ in kinds}
    given: dict[_Key, _Given] = {}
    for group, fields in content.items():
        if group not in groups:
            raise InvalidSetting(
                f"{file}: unknown group {group!r}; {hint(str(group), groups)}", setting=str(group)
            )
        if not isinstance(fields, Mapping):
            raise InvalidSetting(
                f"{file}: {group!r} is {fields!r}: expected a table of settings", setting=group
            )
        names = {name for owner, name in kinds if owner == group}
        for name, raw in fields.items():
            if name not in names:
                raise InvalidSetting(
                    f"{file}: unknown setting {name!r} in {group!r}; {hint(str(name), names)}",
                    setting=f"{group}.{name}",
                )
            given[group, name] = _Given(raw, f"{file}: {group}.{name}")
    return given


def _load(file: Path) -> Mapping[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"cannot read settings from {file}: {error}", path=str(file)) from error
    is_yaml = file.suffix in (".yaml", ".yml")
    try:
        content = _parse_yaml(text) if is_yaml else _parse_toml(text)
    except ValueError as error:
        language = "YAML" if is_yaml else "TOML"
        raise InvalidSetting(f"{file} is not valid {language}: {error}", path=str(file)) from error
    if not isinstance(content, Mapping):
        raise InvalidSetting(f"{file} holds {content!r}: expected groups of settings", path=str(file))
    return content


def _parse_toml(text: str) -> object:
    import tomllib

    return tomllib.loads(text)


def _parse_yaml(text: str) -> object:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    return {} if content is None else content


def _from_environment(
    environment: Mapping[str, str], kinds: Mapping[_Key, Any], other_variables: Collection[str]
) -> dict[_Key, _Given]:
    keys = {variable(group, name): (group, name) for group, name in kinds}
    given: dict[_Key, _Given] = {}
    for name, raw in environment.items():
        if not name.startswith(PREFIX) or name in other_variables:
            continue
        if name not in keys:
            near = hint(name, {*keys, *other_variables})
            raise InvalidSetting(f"unknown environment variable {name}; {near}", setting=name)
        given[keys[name]] = _Given(raw, f"environment variable {name}")
    return given


def _from_flags(flags: Mapping[str, object], kinds: Mapping[_Key, Any]) -> dict[_Key, _Given]:
    keys = {f"{group}.{name}": (group, name) for group, name in kinds}
    given: dict[_Key, _Given] = {}
    for name, raw in flags.items():
        if name not in keys:
            raise InvalidSetting(f"unknown setting {name!r}; {hint(name, keys)}", setting=name)
        if raw is not None:
            given[keys[name]] = _Given(raw, f"flag {name}")
    return given
