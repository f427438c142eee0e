"""The look of a report: one style sheet, colours for light and dark, nothing from elsewhere."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1b1f24; --soft: #5b6470; --grid: #dfe3e8; --ours: #1f6fd6;
  --best: #d9772b; --other: #8a929c; --good: #1a7f4b; --bad: #c0392b;
  --level0: #cfe3f7; --level1: #8fbdec; --level2: #4a8fdb; --level3: #d9772b; --level4: #8c2f1c; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #12161b; --card: #1a2027; --ink: #e8ebee; --soft: #9aa5b1; --grid: #313a44; --ours: #62a5f5;
  --best: #f0a15c; --other: #7d8792; --good: #57c98a; --bad: #f08577;
  --level0: #27405c; --level1: #356a9e; --level2: #62a5f5; --level3: #f0a15c; --level4: #ffd9b0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 3rem 0 .4rem; }
p { max-width: 46rem; margin: .4rem 0; }
.lead { font-size: 1.1rem; }
.soft, figcaption, footer { color: var(--soft); font-size: .92rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 1.2rem 0 0; font-size: .92rem; }
a { color: var(--ours); text-decoration: none; } a:hover { text-decoration: underline; }
figure, .card { margin: 1rem 0; padding: 1rem; background: var(--card); border: 1px solid var(--grid);
  border-radius: 10px; }
figure svg { display: block; width: 100%; height: auto; font-family: inherit; }
figcaption { margin-top: .6rem; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .38rem .55rem; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child, .left { text-align: left; }
tr:last-child td { border-bottom: 0; }
.better { color: var(--good); font-weight: 600; } .worse { color: var(--bad); font-weight: 600; }
.open { color: var(--soft); }
strong.ours { color: var(--ours); }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--soft); }
ul { max-width: 46rem; padding-left: 1.2rem; margin: .4rem 0; } li { margin: .25rem 0; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, monospace; overflow-wrap: anywhere; white-space: normal; }
@media print { body { background: #fff; } figure, .card { break-inside: avoid; } }
"""
