"""Drawing with matplotlib into SVG that takes its colours from the page, so that it is readable in dark and light."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from farlane.errors import NotFound

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GRID, OURS, BEST, OTHER, PAPER = (
    "#010101", "#020202", "#030303", "#040404", "#050505", "#060606", "#070707",
)  # fmt: skip
"""Colours that stand for the page's: text, captions, lines behind, ours, the best rival, others, the background."""
_NAMES = {
    INK: "--ink", SOFT: "--soft", GRID: "--grid", OURS: "--ours", BEST: "--best", OTHER: "--other", PAPER: "--paper",
}  # fmt: skip
LEVELS = ("#080808", "#090909", "#0a0a0a", "#0b0b0b", "#0c0c0c")
"""Five steps from little to much."""
_ALL = _NAMES | {colour: f"--level{at}" for at, colour in enumerate(LEVELS)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10.0, "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT, "axes.titlecolor": INK, "axes.titlesize": 11.0, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8, "text.color": INK, "xtick.color": GRID,
    "ytick.color": GRID, "xtick.labelcolor": SOFT, "ytick.labelcolor": SOFT, "legend.frameon": False,
    "figure.facecolor": "none", "axes.facecolor": "none", "lines.linewidth": 2.0, "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def canvas(name: str, width: float, height: float, rows: int = 1, columns: int = 1) -> Iterator[Drawing]:
    """Lend a figure of so many inches and panels; what is drawn in the context is in `Drawing.svg` behind it.

    Raises:
        NotFound: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NotFound("plots need matplotlib: pip install 'farlane[lab]'") from error
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(width, height))
        panels = [panel for row in figure.subplots(rows, columns, squeeze=False) for panel in row]
        drawing = Drawing(figure, panels)
        yield drawing
        drawing.svg = _themed(figure, name)


class Drawing:
    """A figure, its panels in reading order, and afterwards its SVG."""

    def __init__(self, figure: Figure, panels: list[Axes]) -> None:
        self.figure, self.panels, self.svg = figure, panels, ""


def _themed(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element whose colours are those of the page and whose ids are its own."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?)width="[^"]*pt" height="[^"]*pt"', r'\1role="img"', text, count=1)
    text = re.sub(r'(<svg [^>]*?)height="[^"]*pt" ([^>]*?)width="[^"]*pt"', r"\1\2", text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", text)
    for colour, variable in _ALL.items():
        text = text.replace(colour, f"var({variable})")
    # Text inherits the page's fonts; matplotlib names those of the machine that drew it.
    return re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", text)
