"""What the files of a model say about it: the front matter of its README.md and its config.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from farlane.errors import InvalidInput
from farlane.models.manifest.licences import check_expression

MAX_CARD_BYTES: Final = 4 << 20
MAX_FRONT_MATTER_BYTES: Final = 64 * 1024
MAX_CONFIG_BYTES: Final = 4 << 20
_OPEN_NAMES: Final = {"bsd": "BSD-3-Clause", "gpl": "GPL-3.0-or-later", "lgpl": "LGPL-3.0-or-later"}


@dataclass(frozen=True, slots=True)
class Card:
    """What a model card says in its front matter.

    licence: an SPDX expression, empty where it says none; acceptance: whether the licence is not on SPDX's list, so
    that whoever uses the model has to read it; bases: names of the models it was made from.
    """

    licence: str = ""
    acceptance: bool = False
    task: str = ""
    bases: tuple[str, ...] = ()


def read_card(raw: bytes) -> Card:
    """Return what a README.md says; what cannot be read says nothing.

    Source: Hugging Face, Model Cards, section Model card metadata.
    """
    front = _front_matter(raw)
    licence, acceptance = _licence(front.get("license"), front.get("license_name"))
    bases = front.get("base_model") or ()
    names = [bases] if isinstance(bases, str) else bases if isinstance(bases, list) else []
    task = front.get("pipeline_tag")
    return Card(
        licence,
        acceptance,
        task if isinstance(task, str) else "",
        tuple(one for one in names if isinstance(one, str)),
    )


def architecture(raw: bytes) -> str:
    """Return the architecture that a config.json names, empty for none."""
    try:
        found = json.loads(raw) if len(raw) <= MAX_CONFIG_BYTES else {}
    except (ValueError, RecursionError):
        return ""
    names = found.get("architectures") if isinstance(found, dict) else None
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""


def _front_matter(raw: bytes) -> dict[str, Any]:
    text = raw[: MAX_FRONT_MATTER_BYTES + 8].decode("utf-8", "replace").replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return {}
    body, mark, _ = text[4:].partition("\n---")
    if not mark:
        return {}
    import yaml

    try:
        # Aliases are refused: a few of them make a text of any size.
        found = yaml.load(body, Loader=_no_aliases(yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _no_aliases(loader: Any) -> Any:
    class Loader(loader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            from yaml.events import AliasEvent

            if self.check_event(AliasEvent):
                raise ValueError("aliases are refused")
            return super().compose_node(parent, index)

    return Loader


def _licence(name: object, own_name: object) -> tuple[str, bool]:
    if isinstance(name, list):
        name = name[0] if name else None
    if not isinstance(name, str) or not name or name == "unknown":
        return "", False
    name = _OPEN_NAMES.get(name.lower(), name)
    try:
        return check_expression(name), False
    except InvalidInput:
        chosen = own_name if name == "other" and isinstance(own_name, str) else name
        words = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in chosen)[:100]
        return (
            (f"LicenseRef-{words}", True)
            if words.isascii() and words.strip("-.")
            else ("LicenseRef-other", True)
        )
