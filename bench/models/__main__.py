"""`python -m bench.models`: bytes that updates of a model cost, beside hf-xet and plain IPFS blocks in the same run."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

from bench.models import hashing, update_bytes


def main() -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print("\n| MB per CPU-second, 256 MiB in memory | MB/s | against SHA-256 |\n|---|---:|---:|")
    for rate in hashing.rows():
        print(f"| {rate.what} | {rate.megabytes_per_s:,.0f} | {rate.share:.2f} |")
    print(
        "\n| MB that an update of a 276 MB model costs | farlane | hf-xet | ratio | goal | tensors | 1 MiB | 256 KiB |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="farlane-bench-") as name:
        for row in update_bytes.rows(Path(name)):
            goal = update_bytes.GOALS.get(row.change)
            figures = (row.tensors, row.blocks_1m, row.blocks_256k)
            print(
                f"| {row.change} | {row.ours / 1e6:.2f} | {row.xet / 1e6:.2f} | {row.ours / row.xet:.3f} | "
                f"{'' if goal is None else f'<= {goal}'} | {' | '.join(f'{figure / 1e6:.2f}' for figure in figures)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
