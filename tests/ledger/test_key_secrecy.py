"""An open key and a password show themselves in no text, log, pickle or copy."""

from __future__ import annotations

import copy
import dataclasses
import io
import logging
import pickle
import traceback
from collections.abc import Callable

import cloudpickle
import pytest

from farlane.errors import InvalidInput
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.passwords import Password

SECRET = bytes(range(1, 33))
FORMS = (
    SECRET.hex(),
    str(int.from_bytes(SECRET, "big")),
    repr(SECRET),
    repr(SECRET)[2:-1],
    str(list(SECRET)),
)
HIDDEN = (PrivateKey.from_bytes(SECRET), Password(SECRET))


@dataclasses.dataclass
class Holder:
    thing: object


def logged(thing: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    record = logging.makeLogRecord({"msg": "opened %s %r", "args": (thing, {"key": thing})})
    handler.emit(record)
    return stream.getvalue()


def raised(thing: object) -> str:
    try:
        raise ValueError(thing)
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


SHOWN: dict[str, Callable[[object], str]] = {
    "str": str, "repr": repr, "format": lambda thing: f"{thing} {thing!r} {thing!s:>80}",
    "container": lambda thing: str([thing, {thing: thing}]), "dataclass": lambda thing: repr(Holder(thing)),
    "dir": lambda thing: str(dir(thing)), "logging": logged, "traceback": raised,
}  # fmt: skip


@pytest.mark.parametrize("way", SHOWN)
@pytest.mark.parametrize("thing", HIDDEN, ids=repr)
def test_no_text_shows_it(thing: object, way: str) -> None:
    text = SHOWN[way](thing)
    assert text
    assert [form for form in FORMS if form in text] == []


@pytest.mark.parametrize(
    "copied",
    [
        *(lambda thing, protocol=protocol: pickle.dumps(thing, protocol) for protocol in range(6)),
        cloudpickle.dumps, copy.copy, copy.deepcopy, lambda thing: dataclasses.asdict(Holder(thing)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("thing", HIDDEN, ids=repr)
def test_nothing_copies_it(thing: object, copied: Callable[[object], object]) -> None:
    with pytest.raises(InvalidInput, match="cannot be pickled or copied"):
        copied(thing)


@pytest.mark.parametrize("thing", HIDDEN, ids=repr)
def test_it_has_no_vars(thing: object) -> None:
    with pytest.raises(TypeError):
        vars(thing)


def test_the_forms_would_be_found() -> None:
    assert any(form in repr(Holder(SECRET)) for form in FORMS)
