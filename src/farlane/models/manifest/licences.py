"""Licences: SPDX expressions checked and written one way, and the word of somebody who accepts one.

The identifiers in `spdx_licences.txt` and `spdx_exceptions.txt` are those of the SPDX License List (CC0-1.0).
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

from farlane.errors import InvalidInput, PermissionRefused
from farlane.kit.suggestions import nearest
from farlane.models.manifest.values import Manifest

MAX_EXPRESSION_BYTES: Final = 512
_TOKEN: Final = re.compile(r"\s*([()]|[A-Za-z0-9.\-:]+\+?)")
_REFERENCE: Final = re.compile(r"(DocumentRef-[A-Za-z0-9.\-]+:)?LicenseRef-[A-Za-z0-9.\-]+")
_OPERATORS: Final = {"AND", "OR", "WITH"}


def check_expression(text: str) -> str:
    """Return an SPDX licence expression with identifiers and operators as the SPDX list writes them.

    A licence that SPDX does not know is `LicenseRef-` and a name of one's own.
    Source: SPDX 2.3, annex D.

    Raises:
        InvalidInput: it is not one; the message names the nearest identifier.
    """
    if len(text) > MAX_EXPRESSION_BYTES:
        raise InvalidInput(
            f"a licence expression of {len(text)} letters; expected at most {MAX_EXPRESSION_BYTES}"
        )
    tokens = _tokens(text)
    if not tokens:
        raise InvalidInput("the licence is empty; expected an SPDX expression such as Apache-2.0 or MIT")
    reader = _Reader(text, tokens)
    reader.expression()
    if reader.rest():
        raise reader.wrong(f"{reader.rest()[0]!r} is left over")
    return _joined(reader.written)


def require_acceptance(manifest: Manifest, accepted: str, how: str) -> None:
    """Refuse a version whose licence must be accepted and was not.

    Args:
        manifest: of the version.
        accepted: the expression that somebody accepted, empty for none.
        how: what to type, for the message.

    Raises:
        PermissionRefused: it was not, or another licence was.
    """
    licence = manifest.licence
    if not licence.acceptance or accepted == licence.expression:
        return
    text = f" (its text is the file {licence.file})" if licence.file else ""
    other = f"; {accepted!r} was accepted, which is another licence" if accepted else ""
    raise PermissionRefused(
        f"{manifest.name} may be used by those alone who accept its licence {licence.expression}{text}{other}: "
        f"read it, then {how}",
        licence=licence.expression,
    )


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    stripped = text.rstrip()
    while at < len(stripped):
        found = _TOKEN.match(stripped, at)
        if found is None:
            raise InvalidInput(
                f"{text!r} is no licence expression: unexpected {stripped[at:].strip()[:1]!r}; expected SPDX "
                "identifiers with AND, OR, WITH and brackets"
            )
        tokens.append(found[1])
        at = found.end()
    return tokens


class _Reader:
    """Reads `expression := term (AND|OR term)*`; brackets nest at most as deep as the text is long."""

    def __init__(self, text: str, tokens: list[str]) -> None:
        self._text, self._tokens, self._at = text, tokens, 0
        self.written: list[str] = []

    def rest(self) -> list[str]:
        return self._tokens[self._at :]

    def wrong(self, what: str) -> InvalidInput:
        return InvalidInput(
            f"{self._text!r} is no licence expression: {what}; expected SPDX such as Apache-2.0, or "
            "LicenseRef-NAME for a licence of your own"
        )

    def expression(self) -> None:
        self._term()
        while self.rest() and self.rest()[0].upper() in {"AND", "OR"}:
            self._take(self._next().upper())
            self._term()

    def _term(self) -> None:
        token = self._next() if self.rest() else ""
        if token == "(":
            self._take("(")
            self.expression()
            if not self.rest() or self._next() != ")":
                raise self.wrong("a bracket is not closed")
            self._take(")")
            return
        if not token or token == ")" or token.upper() in _OPERATORS:
            raise self.wrong("an identifier is missing")
        self._take(self._identifier(token))
        if self.rest() and self.rest()[0].upper() == "WITH":
            self._take(self._next().upper())
            self._take(self._exception(self._next() if self.rest() else ""))

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, token: str) -> None:
        self.written.append(token)

    def _identifier(self, token: str) -> str:
        if _REFERENCE.fullmatch(token):
            return token
        plus = "+" if token.endswith("+") else ""
        return self._known(token.removesuffix("+"), _list("spdx_licences.txt")) + plus

    def _exception(self, token: str) -> str:
        return self._known(token, _list("spdx_exceptions.txt"))

    def _known(self, token: str, names: dict[str, str]) -> str:
        found = names.get(token.lower())
        if found is None:
            near = nearest(token, names.values(), count=1)
            raise self.wrong(f"SPDX knows no {token!r}" + (f", did you mean {near[0]}?" if near else ""))
        return found


@cache
def _list(name: str) -> dict[str, str]:
    text = resources.files("farlane.models.manifest").joinpath(name).read_text()
    return {line.lower(): line for line in text.split()}


def _joined(tokens: list[str]) -> str:
    return " ".join(tokens).replace("( ", "(").replace(" )", ")")
