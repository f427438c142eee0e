"""`python -m bench.models`: names, updates and transfer of models beside hf-xet, kubo and iroh in the same run."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from bench.models import adding, real, swarm, transfer, update_bytes
from bench.models.kubo import KUBO_VERSION
from bench.models.rounds import Spread
from farlane.testing import golden_cids

Section = Callable[[Path, argparse.Namespace], None]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.models")
    parser.add_argument("--rounds", type=int, default=5, help="of adding and of transfer")
    parser.add_argument("--mib", type=int, default=256, help="of the file that is added and transferred")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=list(SECTIONS))
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; farlane", end=" "
    )
    print(f"{version('farlane')}, kubo {KUBO_VERSION}, iroh {version('iroh')}, hf-xet {version('hf-xet')}")
    for name in options.only:
        load = os.getloadavg()[0]
        print(f"\n{name} (load of the machine before it began: {load:.1f})\n", flush=True)
        with tempfile.TemporaryDirectory(prefix="farlane-bench-") as directory:
            SECTIONS[name](Path(directory), options)


def show_golden(directory: Path, options: argparse.Namespace) -> None:
    pairs = list(golden_cids.cids())
    equal = sum(expected == found for expected, found in pairs)
    print(f"CIDs that kubo's own tests expect: {equal} of {len(pairs)} equal.")


def show_adding(directory: Path, options: argparse.Namespace) -> None:
    cpu, wall = adding.run(directory, options.mib, options.rounds)
    print(
        "| what | MB per CPU-second | of SHA-256 | goal | MB/s | of SHA-256 |\n|---|---:|---:|---:|---:|---:|"
    )
    for name in cpu.figures:
        goal = adding.GOALS.get(name)
        shares = [rate.ratio(name, adding.REFERENCE).median for rate in (cpu, wall)]
        cells = (
            f"{cpu.spread(name).median:,.0f}",
            f"{shares[0]:.2f}",
            "" if goal is None else f">= {goal}",
            f"{wall.spread(name).median:,.0f}",
            f"{shares[1]:.2f}",
        )
        print(f"| {name} | {' | '.join(cells)} |")
    ours_kubo = cpu.ratio(adding.STORED, adding.KUBO_STORED)
    print(f"\nfarlane copied and synced / kubo's add, per CPU-second: {_times(ours_kubo)}")


def show_updates(directory: Path, options: argparse.Namespace) -> None:
    _updates(update_bytes.rows(directory))


def show_real(directory: Path, options: argparse.Namespace) -> None:
    _updates(real.rows(directory))


def show_transfer(directory: Path, options: argparse.Namespace) -> None:
    rates, cpu = transfer.run(directory, options.mib, options.rounds)
    print(
        "| from node to node | MB/s | least to most | farlane / this | goal | CPU-s per GB | this / farlane |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in rates.figures:
        rate, goal = rates.spread(name), transfer.GOALS.get(name)
        cells = (
            f"{rate.median:.0f}",
            f"{rate.least:.0f} to {rate.most:.0f}",
            _times(rates.ratio("farlane", name)),
            "" if goal is None else f">= {goal:.0f}x",
            f"{cpu.spread(name).median:.1f}",
            _times(cpu.ratio(name, "farlane")),
        )
        print(f"| {name} | {' | '.join(cells)} |")


def show_swarm(directory: Path, options: argparse.Namespace) -> None:
    print(
        "| MiniLM on 8 nodes | published s | first serves s | all serve s | goal | from the hub MB | failed |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for step in swarm.run(directory):
        goal = swarm.GOALS_S.get(step.what)
        cells = (
            f"{step.publish_s:.2f}" if step.publish_s else "",
            f"{step.first_s:.2f}",
            f"{step.all_s:.2f}",
            "" if goal is None else f"<= {goal}",
            f"{step.origin_bytes / 1e6:.1f}",
            f"{step.failed} of {step.requests}" if step.requests else "",
        )
        print(f"| {step.what} | {' | '.join(cells)} |", flush=True)


def _updates(rows: Iterable[update_bytes.Row]) -> None:
    print("| MB | farlane | hf-xet | ratio | goal | tensors | 1 MiB | 256 KiB | farlane s | hf-xet s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        goal = update_bytes.GOALS.get(row.change)
        blocks = " | ".join(f"{size / 1e6:.2f}" for size in (row.tensors, row.blocks_1m, row.blocks_256k))
        print(
            f"| {row.change} | {row.ours / 1e6:.2f} | {row.xet / 1e6:.2f} | {row.ours / row.xet:.3f} | "
            f"{'' if goal is None else f'<= {goal}'} | {blocks} | {row.ours_s:.2f} | {row.xet_s:.2f} |",
            flush=True,
        )


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.1f}x ({ratio.least:.1f} to {ratio.most:.1f})"


SECTIONS: dict[str, Section] = {
    "golden": show_golden,
    "adding": show_adding,
    "updates": show_updates,
    "real": show_real,
    "transfer": show_transfer,
    "swarm": show_swarm,
}

if __name__ == "__main__":
    main()
