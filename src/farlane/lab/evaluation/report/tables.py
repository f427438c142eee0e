"""Tables of a report as HTML, and the same rows for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from farlane.lab.evaluation.assessment import Ablated, Assessment
from farlane.lab.evaluation.rivals import Kind
from farlane.lab.evaluation.standings import Line, Standing
from farlane.lab.evaluation.statistics import Interval, Verdict

_CLASSES = {Verdict.BETTER: "better", Verdict.WORSE: "worse", Verdict.OPEN: "open"}
STANDING_HEADS = (
    "setting", "cases", "ours", "best rule in hindsight", "its mean", "ours / its", "95 % interval", "typical ratio",
    "won:lost", "verdict",
)  # fmt: skip
PACKING_HEADS = (
    "list", "orders", "ours, %", "best rule in hindsight", "its %", "points gained", "95 % interval", "won:lost",
    "verdict",
)  # fmt: skip


def number(value: float) -> str:
    """Return a slowdown or a ratio with as many digits as say something."""
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:,.1f}" if abs(value) >= 100 else f"{value:.2f}"


def bounds(interval: Interval, digits: int = 2, sign: str = "") -> str:
    """Return an interval's bounds."""
    return f"{interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f}"


def gained(interval: Interval) -> Interval:
    """Return the interval of points gained for one of percent left over."""
    return Interval(-interval.value, -interval.high, -interval.low, interval.level)


def standing_row(each: Standing, line: Line | None = None) -> list[str]:
    """Return the cells of `STANDING_HEADS` or `PACKING_HEADS`, against the best rule or another line."""
    line = line or each.best
    won = f"{line.signs.below} : {line.signs.above}"
    if each.kind is Kind.PACKING:
        gap = gained(line.gap)
        return [
            each.setting.removeprefix("openb "), str(each.cases), f"{100.0 - each.mean:.2f}", line.rival,
            f"{100.0 - line.mean:.2f}", f"{gap.value:+.2f}", bounds(gap, sign="+"), won, str(line.verdict),
        ]  # fmt: skip
    typical = "" if line.typical is None else f"{line.typical.value:.2f} ({bounds(line.typical)})"
    return [
        each.setting, str(each.cases), number(each.mean), line.rival, number(line.mean), f"{line.gap.value:.3f}",
        bounds(line.gap), typical, won, str(line.verdict),
    ]  # fmt: skip


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; a last cell that is a verdict has its colour."""
    classes = {str(verdict): name for verdict, name in _CLASSES.items()}
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = []
    for row in rows:
        cells = []
        for cell in row:
            kind = f' class="{classes[cell]}"' if cell in classes else ""
            cells.append(f"<td{kind}>{escape(cell)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(body)}</table></div>'


def all_rivals(standings: Sequence[Standing]) -> str:
    """Return a table of the mean cost of every rule in every setting, rules in rows; the best of a column in bold."""
    names = sorted({line.rival for each in standings for line in each.lines})
    packing = standings[0].kind is Kind.PACKING
    heads = "".join(f"<th>{escape(each.setting)}</th>" for each in standings)
    rows = [_means(standings[0].ours, [each.mean for each in standings], standings, packing, ours=True)]
    for name in names:
        found = [each.line(name) for each in standings]
        means = [float("nan") if line is None else line.mean for line in found]
        rows.append(_means(name, means, standings, packing))
    return f'<div class="scroll"><table><tr><th></th>{heads}</tr>{"".join(rows)}</table></div>'


def ablation_table(ablations: Sequence[Ablated]) -> str:
    """Return a table of what each thing that is taken away costs: mean cost over that of the whole policy."""
    titles = list(ablations[0].ratios)
    rows = [[each.policy, *(f"{each.ratios[title]:.3f}" for title in titles)] for each in ablations]
    return html_table(("taken away", *titles), rows)


def manifest_rows(assessment: Assessment) -> list[tuple[str, str]]:
    """Return what the checkpoint says of itself."""
    manifest = assessment.manifest
    data = ", ".join(
        f"{source.name} ({source.sha256[:12]})" if source.sha256 else source.name
        for source in manifest.training
    )
    return [
        ("note", manifest.note or "none"),
        ("networks", str(manifest.members)),
        ("size", f"{assessment.bytes:,} bytes"),
        ("layers", ", ".join(f"{name} {size}" for name, size in sorted(manifest.network.items()))),
        ("trained on", data or "nothing that it names"),
        ("seeds", ", ".join(str(seed) for seed in manifest.seeds) or "none"),
        ("commit", manifest.commit or "unknown"),
        ("licence", manifest.licence),
        ("features", f"{sum(map(len, manifest.features.values()))}, digest {manifest.digest[:16]}"),
        *((f"metric {name}", number(value)) for name, value in sorted(manifest.metrics.items())),
    ]


def _means(
    name: str, means: Sequence[float], standings: Sequence[Standing], packing: bool, *, ours: bool = False
) -> str:
    cells = []
    for mean, each in zip(means, standings, strict=True):
        text = f"{100.0 - mean:.2f}" if packing else number(mean)
        best = mean <= min(each.mean, each.best.mean)
        cells.append(f"<td>{f'<strong>{text}</strong>' if best else text}</td>")
    label = f'<strong class="ours">{escape(name)}</strong>' if ours else escape(name)
    return f"<tr><td>{label}</td>{''.join(cells)}</tr>"
