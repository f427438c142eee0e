"""GPU requests as people write them: `A100:1`, `24GB`, `A100-80GB:2`, `2`."""

from __future__ import annotations

import re

from farlane.domain.resources import MAX_GPUS, GpuRequest
from farlane.domain.units import parse_bytes
from farlane.errors import InvalidInput, InvalidJob

EXPECTED = (
    "expected a model and count such as 'A100:1', memory such as '24GB', both as in 'A100-80GB:2', or a count"
)
_COUNT = re.compile(r"\d{1,6}")
_SIZE = re.compile(r"\d+(\.\d+)?\s*[kmgt](i?b)?", re.IGNORECASE)
_MODEL = re.compile(r"[A-Za-z][A-Za-z0-9 _.+-]{0,63}")


def parse_gpu(value: str | int | None) -> GpuRequest | None:
    """Read a GPU request.

    Args:
        value: a count (`2`), memory per device (`24GB`, `24GB..`), a model (`A100`), or parts joined by `:`
            (`A100:2`, `24GB:2`, `A100:80GB:2`, `A100-80GB:2`). `0`, an empty text and None ask for none.

    Returns:
        The request, or None when no GPU is asked for.

    Raises:
        InvalidJob: not a GPU request.
    """
    text = "" if value is None else str(value).strip()
    if isinstance(value, bool):
        raise _unreadable(value)
    if text in ("", "0"):
        return None
    model: str | None = None
    vram_bytes = 0
    count: int | None = None
    for part in _parts(text):
        if _COUNT.fullmatch(part) and count is None:
            count = int(part)
        elif _SIZE.fullmatch(part) and not vram_bytes:
            vram_bytes = _vram(part, text)
        elif _MODEL.fullmatch(part) and model is None:
            model = part.upper()
        else:
            raise _unreadable(text)
    if count is not None and not 1 <= count <= MAX_GPUS:
        raise InvalidJob(f"gpu {text!r} asks for {count} devices; expected 1 to {MAX_GPUS}", field="gpu")
    return GpuRequest(1 if count is None else count, model, vram_bytes)


def gpu_text(request: GpuRequest) -> str:
    """Return a request as `parse_gpu` reads it, for tables: `A100:1`, `A100-80GB:2`."""
    parts = [request.model] if request.model else []
    if request.min_vram_bytes:
        parts.append(f"{request.min_vram_bytes / 10**9:g}GB")
    return ":".join(("-".join(parts), str(request.count))) if parts else str(request.count)


def _parts(text: str) -> list[str]:
    parts: list[str] = []
    for part in (piece.strip() for piece in text.split(":")):
        model, dash, size = part.rpartition("-")
        if dash and _SIZE.fullmatch(size.removesuffix("..")):
            parts += (model, size.removesuffix(".."))
        else:
            parts.append(part.removesuffix(".."))
    return parts


def _vram(part: str, text: str) -> int:
    try:
        return parse_bytes(part.replace(" ", ""))
    except InvalidInput as error:
        raise _unreadable(text) from error


def _unreadable(value: object) -> InvalidJob:
    upper = ", and only a lower bound of memory can be given" if ".." in str(value) else ""
    return InvalidJob(f"gpu {value!r} cannot be read; {EXPECTED}{upper}", field="gpu", value=str(value))
