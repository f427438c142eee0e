"""Tokenizers: tokenizer.json and SentencePiece models, with their kind and the size of their vocabulary.

Source: Hugging Face tokenizers (tokenizer.json); sentencepiece_model.proto.
"""

from __future__ import annotations

import json
from typing import Final

from farlane.errors import Corrupted
from farlane.models.formats.content import Content
from farlane.models.formats.protobuf import BYTES, FIXED32, fields
from farlane.models.formats.values import FileFormat, Inspection

MAX_JSON_BYTES: Final = 64 << 20
MAX_PIECES: Final = 4_000_000


def inspect_json(content: Content) -> Inspection | None:
    """Look into a JSON file; None where it is no tokenizer.

    Raises:
        Corrupted: it is called tokenizer.json and is none.
    """
    if content.size > MAX_JSON_BYTES:
        return None
    try:
        found = json.loads(content.read(0, content.size))
    except (ValueError, RecursionError):
        return None
    model = found.get("model") if isinstance(found, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict | list):
        return None
    kind = model.get("type") or ("WordPiece" if "max_input_chars_per_word" in model else "")
    facts = {"kind": str(kind)[:64], "vocabulary": str(len(model["vocab"]))}
    return Inspection(format=FileFormat.TOKENIZER, size=content.size, facts=tuple(sorted(facts.items())))


def inspect_sentencepiece(content: Content) -> Inspection | None:
    """Look into a SentencePiece model; None where it is none."""
    if content.read(0, 1) != b"\x0a":
        return None
    pieces, trainer = 0, False
    try:
        for number, kind, start, end in fields(content, 0, content.size, MAX_PIECES):
            if kind != BYTES or number > 5:
                return None
            if number == 1:
                pieces += 1
                if pieces <= 4 and not _is_piece(content, start, end):
                    return None
            trainer = trainer or number == 2
    except Corrupted:
        return None
    if pieces < 2 or not trainer:
        return None
    return Inspection(
        format=FileFormat.SENTENCEPIECE, size=content.size, facts=(("vocabulary", str(pieces)),)
    )


def _is_piece(content: Content, start: int, end: int) -> bool:
    kinds = {number: kind for number, kind, _, _ in fields(content, start, end, 8)}
    return kinds.get(1) == BYTES and kinds.get(2, FIXED32) == FIXED32 and kinds.keys() <= {1, 2, 3}
