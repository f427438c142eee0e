"""A strict reader of YAML files: safe tags only, no duplicate keys, no bombs, and every value knows its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from farlane.errors import InvalidJob, TooLarge

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_VALUES = 20_000
"""Values after aliases are expanded: what an alias bomb would multiply."""
_SCALAR_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp")
)


@dataclass(frozen=True, slots=True)
class Located:
    """A value of a YAML file: what it means, as it was written, and where.

    value: a scalar, `dict[str, Located]` or `list[Located]`; text: a scalar's own characters; line: from 1.
    """

    value: Any
    text: str
    line: int


def read_yaml(data: bytes, source: str) -> Located:
    """Read one YAML document.

    Args:
        data: the file's bytes, UTF-8.
        source: the file's name, for messages.

    Raises:
        TooLarge: more than 256 KiB.
        InvalidJob: not YAML, or something in it that is refused; the message begins with `source:line`.
    """
    if len(data) > MAX_BYTES:
        raise TooLarge(
            f"{source} has {len(data)} bytes; expected at most {MAX_BYTES}. Put data in input files",
            source=source,
        )
    try:
        root = _Loader(data.decode()).get_single_node()
        if root is None:
            raise InvalidJob(
                f"{source} is empty; expected a mapping such as 'run: echo hello'", source=source
            )
        return _Reader(source).read(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise refused(
            source, mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refused(source, 1, f"not YAML: {error}; expected UTF-8 text") from error


def refused(source: str, line: int, what: str, **facts: object) -> InvalidJob:
    """Return the error for something at a line of a file."""
    return InvalidJob(f"{source}:{line}: {what}", source=source, line=line, **facts)


class _Loader(yaml.SafeLoader):
    """PyYAML's composer is recursive: the depth is capped before it is entered."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, f"nested more than {MAX_DEPTH} deep; write it flatter", mark
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    """Turns nodes into located values; it counts them, so that aliases cannot multiply without end."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._values = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def read(self, node: Any, above: tuple[int, ...]) -> Located:
        """Return the value of a node; `above` holds the identities of the nodes that contain it."""
        line = node.start_mark.line + 1
        self._values += 1
        if self._values > MAX_VALUES:
            raise refused(self._source, line, f"more than {MAX_VALUES} values once aliases are expanded")
        if id(node) in above:
            raise refused(self._source, line, "an alias contains itself")
        inside = (*above, id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return Located(self._mapping(node, inside), "", line)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return Located([self.read(child, inside) for child in node.value], "", line)
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALAR_TAGS:
            return Located(self._scalar(node, line), node.value, line)
        raise refused(self._source, line, f"the tag {node.tag!r} is not allowed; write a plain value")

    def _mapping(self, node: Any, inside: tuple[int, ...]) -> dict[str, Located]:
        found: dict[str, Located] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise refused(self._source, line, "a key must be a plain text")
            if key.tag == "tag:yaml.org,2002:merge":
                raise refused(
                    self._source, line, "merge keys ('<<') are not supported; write the entries out"
                )
            if key.value in found:
                first = found[key.value].line
                raise refused(self._source, line, f"key {key.value!r} stands twice (first on line {first})")
            found[key.value] = self.read(value, inside)
        return found

    def _scalar(self, node: Any, line: int) -> Any:
        try:
            return self._scalars.construct_object(node)
        except (ValueError, OverflowError, yaml.YAMLError) as error:
            raise refused(
                self._source, line, f"{node.value!r} cannot be read: {error}; quote it to mean text"
            ) from error
