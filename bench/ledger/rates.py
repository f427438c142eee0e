"""`python -m bench.ledger.rates`: what one core signs, checks and appends in a second; needs no chain."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle

from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.leaf import Leaf, pack
from farlane.ledger.tree import Tree, leaf_hash
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import SignedVoucher, Voucher, check_voucher, sign_voucher

ROUNDS = 5
COUNT = 5000
"""More than the 4096 addresses of signers that are kept: whoever is checked in order has been forgotten by its turn."""
SIGNERS = 64
"""Session keys that are seen again and again."""


def main() -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}")
    rates()


def rates() -> None:
    """Print CPU time of one core: medians of rounds, in which no voucher, leaf or unseen signer comes twice."""
    domain = Domain(31337, PrivateKey.generate().address, "ab" * 16)
    vouchers = new_vouchers()
    known = [PrivateKey.generate() for _ in range(SIGNERS)]
    keys = cycle(known)
    tree = Tree()

    def sign(key: PrivateKey) -> tuple[Address, SignedVoucher]:
        return key.address, sign_voucher(domain, key, next(vouchers))

    def check(work: tuple[Address, SignedVoucher]) -> None:
        check_voucher(domain, work[1], work[0])

    tasks = count()
    rows: list[tuple[str, Callable[[], object], Callable[[object], object]]] = [
        ("voucher signed", lambda: (next(keys), next(vouchers)), lambda work: sign_voucher(domain, *work)),
        ("voucher checked, of a signer seen before", lambda: sign(next(keys)), check),
        ("voucher checked, of a signer never seen", lambda: sign(PrivateKey.generate()), check),
        (
            "leaf packed, hashed and appended",
            lambda: leaf(next(tasks)),
            lambda work: tree.append(leaf_hash(pack(work))),
        ),
    ]  # type: ignore[assignment]
    print("\n| one core | µs CPU | per second |\n|---|---|---|")
    for address, signed in [sign(key) for key in known]:
        check((address, signed))
    for name, prepare, work in rows:
        seconds = median(prepare, work)
        print(f"| {name} | {seconds * 1e6:.1f} | {1 / seconds:,.0f} |")


def median(prepare: Callable[[], object], work: Callable[[object], object]) -> float:
    """Return the CPU seconds of one piece of work; what prepares it is not counted."""
    took = []
    for _ in range(ROUNDS):
        pieces = [prepare() for _ in range(COUNT)]
        started = time.process_time()
        for piece in pieces:
            work(piece)
        took.append((time.process_time() - started) / COUNT)
    return sorted(took)[ROUNDS // 2]


def new_vouchers() -> Iterator[Voucher]:
    number = 0
    while True:
        number += 1
        filler = number.to_bytes(32, "big")
        yield Voucher(filler, number, number, filler)


def leaf(task: int) -> Leaf:
    return Leaf(task, 1, 0, 0, 0, 0, 0, *[b"\3" * 32] * 5, 1000, 1 << 30, 0, 0, 10, 10, 10, 10)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
