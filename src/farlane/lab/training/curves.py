"""Curves of a run: live on a terminal while it trains, and as plots afterwards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from farlane.kit.files import atomic_write
from farlane.lab.training.folder import Row, RunFolder

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
_AXES = ("stage", "step", "seconds")
EXPLAINED = {
    ("imitation", "loss"): "cross-entropy, nats",
    ("imitation", "foreseen"): "share of the rule's choices",
    ("ppo", "return"): "return, in the best rule's",
    ("ppo", "kl"): "KL divergence of a step, nats",
    ("search", "loss"): "mean log cost / best rule's",
    ("search", "least"): "least of a generation",
    ("search", "check"): "centre, on sequences kept for that",
}
"""What the figures of each stage are, for plots; others go by their names."""


class Watcher:
    """Shows points as they come: on a terminal a table that moves, else a line each."""

    def __init__(self, console: Console, rows: Sequence[Row] = ()) -> None:
        from rich.live import Live

        self._console, self._rows = console, list(rows)
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Watcher:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Tell what happens now."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, row: Row, steps: int) -> None:
        """Show a point of a stage that has so many steps in all."""
        self._rows.append(row)
        if self._live is None:
            figures = "  ".join(f"{name} {_text(row[name])}" for name in row if name not in _AXES)
            self.say(f"{row['stage']} {row['step']}/{steps}  {figures}")
        else:
            self._live.update(self._table(str(row["stage"]), steps), refresh=True)

    def _table(self, stage: str, steps: int) -> Table:
        from rich.table import Table

        rows = [row for row in self._rows if row["stage"] == stage]
        table = Table(title=f"{stage}: step {rows[-1]['step']} of {steps}", title_justify="left")
        for heading in ("figure", "now", "so far"):
            table.add_column(heading, justify="right" if heading == "now" else "left")
        for name, values in _series(rows).items():
            table.add_row(
                EXPLAINED.get((stage, name), name), _text(values[-1][1]), sparkline([y for _, y in values])
            )
        return table


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Return a curve as one line of text; the lowest value is the lowest bar.

    Args:
        values: in their order.
        width: characters at most; of more values each character shows the mean of several.
    """
    if len(values) > width:
        edges = [round(at * len(values) / width) for at in range(width + 1)]
        parts = [values[a:b] for a, b in pairwise(edges)]
        values = [sum(part) / len(part) for part in parts]
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)


def plot(folder: RunFolder) -> list[Path]:
    """Write a picture of each stage's curves, and return their paths; raises DiskFull."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    written = []
    rows = folder.curves()
    for stage in dict.fromkeys(str(row["stage"]) for row in rows):
        series = _series([row for row in rows if row["stage"] == stage])
        figure = Figure(figsize=(4.0 * len(series), 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        for at, (name, points) in enumerate(series.items(), start=1):
            axes = figure.add_subplot(1, len(series), at)
            axes.plot(*zip(*points, strict=True), linewidth=1.2)
            axes.set(xlabel=f"{stage}, steps", title=EXPLAINED.get((stage, name), name))
            axes.grid(alpha=0.3)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=110)
        path = folder.path / f"{stage}.png"
        atomic_write(path, picture.getvalue(), 0o644)
        written.append(path)
    return written


def _series(rows: Sequence[Row]) -> dict[str, list[tuple[float, float]]]:
    """Return (step, value) of each figure."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in _AXES:
                found.setdefault(name, []).append((float(row["step"]), float(value)))
    return found


def _text(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
