"""Gavel's measurements: how many steps a second kinds of training make on models of GPUs, alone and two on one.

Source: https://github.com/stanford-futuredata/gavel (MIT); Narayanan et al., OSDI 2020
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

import numpy as np

from farlane.errors import Corrupted, InvalidInput
from farlane.lab.traces.text import unpacked
from farlane.scheduler.sim.world import MAX_GPU_MODELS, Floats

MAX_BYTES = 64 << 20
MAX_KINDS = 4096
_ALONE = "null"
_KIND = re.compile(r"\('([^']{1,100})', (\d{1,4})\)")
_Measured = dict[str, dict[str, dict[str, object]]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of training: what it trains with which batch, on how many GPUs."""

    name: str
    gpus: int


@dataclass(frozen=True, slots=True)
class GavelTable:
    """Steps a second; k kinds, m models of GPUs.

    kinds; models, as the file names them (`..._unconsolidated`: spread over machines); alone: (k, m), 0 where it does
    not run or was not measured; beside: (m, k, k) of the first kind when the second shares its GPU, nan where that was
    not measured.
    """

    kinds: tuple[Kind, ...]
    models: tuple[str, ...]
    alone: Floats
    beside: Floats


def read_gavel(path: Path) -> GavelTable:
    """Read the throughputs.

    Raises:
        NotFound: there is no such file.
        Corrupted: it is no text, or cannot be unpacked.
        InvalidInput: it is no JSON, or not of this form; a throughput is none or negative. The message says where.
    """
    measured = _form(path, _decoded(path))
    models = tuple(measured)
    names = sorted({name for kinds in measured.values() for name in kinds})
    if not names or len(models) > MAX_GPU_MODELS or len(names) > MAX_KINDS:
        raise InvalidInput(f"{path} has {len(models)} models of GPUs and {len(names)} kinds of training")
    kinds = tuple(_kind(path, name) for name in names)
    rows = {name: row for row, name in enumerate(names)}
    alone = np.zeros((len(names), len(models)))
    beside = np.full((len(models), len(names), len(names)), np.nan)
    for column, model in enumerate(models):
        for name, values in measured[model].items():
            for other, value in values.items():
                where = f"{path}: {model}, {name}, {other}"
                if other == _ALONE:
                    alone[rows[name], column] = _rate(where, value)
                elif other in rows:
                    beside[column, rows[name], rows[other]] = _pair(where, value)
    return GavelTable(kinds, models, alone, beside)


def _decoded(path: Path) -> object:
    with unpacked(path) as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InvalidInput(f"{path} holds more than {MAX_BYTES >> 20} MiB; expected a table of throughputs")
    try:
        return cast(object, json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse))
    except UnicodeDecodeError as error:
        raise Corrupted(f"{path} is damaged or no UTF-8 text: {error}. Load it again") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path}, line {error.lineno}: {error.msg}; expected JSON") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: {error}; expected a table of throughputs") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no throughput")


def _form(path: Path, found: object) -> _Measured:
    if isinstance(found, dict) and found:
        inner = [kinds for kinds in found.values() if isinstance(kinds, dict)]
        if len(inner) == len(found) and all(
            isinstance(each, dict) for kinds in inner for each in kinds.values()
        ):
            return cast(_Measured, found)
    raise InvalidInput(f"{path} is no table of throughputs: expected {{model of GPU: {{kind: {{...}}}}}}")


def _kind(path: Path, name: str) -> Kind:
    found = _KIND.fullmatch(name)
    if found is None or not int(found[2]):
        raise InvalidInput(f"{path} has a kind {name[:80]!r}; expected one like \"('LM (batch size 5)', 1)\"")
    return Kind(found[1], int(found[2]))


def _rate(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InvalidInput(f"{where} is {str(value)[:40]}; expected steps a second")
    return float(value)


def _pair(where: str, value: object) -> float:
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidInput(f"{where} is {str(value)[:40]}; expected steps a second of both")
    _rate(where, value[1])
    return _rate(where, value[0])
