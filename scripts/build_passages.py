"""Cut the demo's text, Jane Austen's "Pride and Prejudice", into the passages that ship with farlane.

The novel (1813, public domain) is read out of Debian's package `r-cran-janeaustenr`, which carries it
as one R character vector, a string per line. Only the novel is kept, nothing of the package around it.

    apt-get download r-cran-janeaustenr
    dpkg-deb -x r-cran-janeaustenr_*.deb janeaustenr
    python scripts/build_passages.py janeaustenr

The result, src/farlane/demo/passages.txt, holds one passage a line: chapter, tab, text. Passages have
40 to 120 words; a single sentence that is longer stays whole. Joined, they are the novel, word for word.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent.parent / "src/farlane/demo/passages.txt"
DATABASE = "usr/lib/R/site-library/janeaustenr/data/Rdata"
FIRST_WORDS = "PRIDE AND PREJUDICE"

MIN_WORDS, TARGET_WORDS, MAX_WORDS = 40, 80, 120
MID_PARAGRAPH_COST = 150.0  # squared words: a cut inside a paragraph is as bad as missing the target by 12

R_STRINGS, R_STRING = 16, 9  # SEXP types STRSXP and CHARSXP, R Internals, section 1.1


def read_records(database: Path) -> Iterator[bytes]:
    """Yield each serialized R object of a lazy-load database: 4 bytes of size, then a zlib stream."""
    data = database.with_suffix(".rdb").read_bytes()
    offset = 0
    while offset < len(data):
        inflater = zlib.decompressobj()
        yield inflater.decompress(data[offset + 4 :])
        offset = len(data) - len(inflater.unused_data)


def read_strings(record: bytes) -> list[str]:
    """Read one R character vector in XDR format, versions 2 and 3."""
    if record[:2] != b"X\n":
        raise SystemExit(f"expected R's XDR serialization, found {record[:2]!r}")
    (version,) = struct.unpack_from(">i", record, 2)
    offset = 14
    if version == 3:  # version 3 names the native encoding after the header
        offset += 4 + struct.unpack_from(">i", record, offset)[0]
    flags, count = struct.unpack_from(">ii", record, offset)
    if flags & 0xFF != R_STRINGS:
        raise SystemExit(f"expected a character vector (type {R_STRINGS}), found type {flags & 0xFF}")
    offset += 8
    strings = []
    for _ in range(count):
        flags, size = struct.unpack_from(">ii", record, offset)
        if flags & 0xFF != R_STRING:
            raise SystemExit(f"expected a string (type {R_STRING}), found type {flags & 0xFF}")
        strings.append(record[offset + 8 : offset + 8 + size].decode("utf-8"))
        offset += 8 + size
    return strings


def split_chapters(lines: list[str]) -> list[list[str]]:
    """Return the chapters, each a list of paragraphs with the line breaks and emphasis marks removed."""
    body = "\n".join(lines).replace("_", "")
    chapters = re.split(r"^Chapter \d+\s*$", body, flags=re.MULTILINE)[1:]
    return [[" ".join(p.split()) for p in re.split(r"\n\s*\n", c) if p.strip()] for c in chapters]


def split_sentences(paragraph: str) -> list[str]:
    """Cut after a full stop, and after a semicolon in a sentence that is too long for a passage."""
    pieces = re.split(r'(?<=[.!?])(?<!Mr\.)(?<!Mrs\.)(?<!St\.)(?<!Dr\.)"?\s+(?=["A-Z(])', paragraph)
    sentences: list[str] = []
    for piece in _restore(paragraph, pieces):
        long = len(piece.split()) > MAX_WORDS - MIN_WORDS
        sentences.extend(re.split(r"(?<=;)\s+", piece) if long else [piece])
    return sentences


def _restore(paragraph: str, pieces: list[str]) -> Iterator[str]:
    """Give each piece the closing quotation mark back that the split swallowed."""
    offset = 0
    for piece in pieces:
        start = paragraph.index(piece, offset)
        offset = start + len(piece)
        yield piece + '"' if paragraph[offset : offset + 2] in {'" ', '"'} else piece


def cut_chapter(paragraphs: list[str]) -> list[str]:
    """Cut a chapter where it hurts least: near TARGET_WORDS, at the end of a paragraph if possible."""
    units = [(s, p) for p, text in enumerate(paragraphs) for s in split_sentences(text)]
    words = [len(text.split()) for text, _ in units]
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(units) + 1):
        inside = end < len(units) and units[end - 1][1] == units[end][1]
        options, size = [], 0
        for start in range(end - 1, -1, -1):
            size += words[start]
            outside = max(0, MIN_WORDS - size, size - MAX_WORDS)
            cost = (size - TARGET_WORDS) ** 2 + 1e6 * outside + MID_PARAGRAPH_COST * inside
            options.append((best[start][0] + cost, start))
            if size > MAX_WORDS:
                break
        best.append(min(options))
    passages, end = [], len(units)
    while end:
        start = best[end][1]
        passages.append(" ".join(text for text, _ in units[start:end]))
        end = start
    return passages[::-1]


def main(argv: list[str] | None = None) -> int:
    """Read the unpacked package named on the command line and write the passages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="folder the Debian package was unpacked into")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args(argv)
    novels = (read_strings(record) for record in read_records(arguments.package / DATABASE))
    novel = next(lines for lines in novels if lines[0].strip() == FIRST_WORDS)
    rows = [
        f"{number}\t{passage}\n"
        for number, chapter in enumerate(split_chapters(novel), start=1)
        for passage in cut_chapter(chapter)
    ]
    arguments.output.write_text("".join(rows), encoding="utf-8")
    print(f"{len(rows)} passages written to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
