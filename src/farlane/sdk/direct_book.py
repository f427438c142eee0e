"""The publisher's side of a direct channel, durable: its book, the orders under way, and whether it trusts the node."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from farlane.domain.prices import RateVector
from farlane.domain.resources import GpuKind
from farlane.errors import Corrupted, FarlaneError
from farlane.kit.files import atomic_write, private_directory, read_private
from farlane.ledger.accounts import Address, parse_address
from farlane.ledger.books import Book
from farlane.ledger.direct_leaf import Tariff
from farlane.ledger.tree import Frontier
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher

_FORMAT = "farlane-direct-channel-2"


@dataclass(frozen=True, slots=True)
class PendingOrder:
    """An order that was signed and whose result was not yet accepted.

    place: its number in the channel; task: its id; message: as it travels; reserve_nano: the most it may cost; began:
    unix seconds; tariff: what it is charged by.
    """

    place: int
    task: str
    message: bytes
    reserve_nano: int
    began: float
    tariff: Tariff


@dataclass(frozen=True, slots=True)
class ChannelBook:
    """One channel as its payer keeps it.

    opened: the chain has confirmed it; done_below, done: places whose orders are done: all below the one, and the
    others; dispute: what the node did that no voucher is signed for any more, empty if nothing.
    """

    channel: Channel
    opened: bool = False
    frontier: bytes = bytes(8)
    owed_nano: int = 0
    voucher: SignedVoucher | None = None
    done_below: int = 0
    done: frozenset[int] = frozenset()
    pending: tuple[PendingOrder, ...] = ()
    dispute: str = ""

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return int.from_bytes(self.frontier[:8], "big")

    @property
    def reserved_nano(self) -> int:
        """The most that all pending orders may cost."""
        return sum(one.reserve_nano for one in self.pending)

    def open(self) -> Book:
        """Return the book to work on."""
        voucher = None if self.voucher is None else self.voucher.voucher
        return Book(Frontier.from_bytes(self.frontier), self.owed_nano, voucher)

    def free_place(self) -> int:
        """Return the lowest number that no order has."""
        taken = self.done | {one.place for one in self.pending}
        place = self.done_below
        while place in taken:
            place += 1
        return place

    def waiting(self, place: int) -> PendingOrder | None:
        """Return the pending order of a number, None where there is none."""
        return next((one for one in self.pending if one.place == place), None)

    def ordered(self, order: PendingOrder) -> ChannelBook:
        """Return it with one more order on its way."""
        return replace(self, pending=(*self.pending, order))

    def without(self, place: int) -> ChannelBook:
        """Return it without an order that was refused."""
        return replace(self, pending=tuple(one for one in self.pending if one.place != place))

    def after(self, place: int, book: Book, voucher: SignedVoucher) -> ChannelBook:
        """Return it with one more leaf, paid."""
        below, done = self.done_below, self.done | {place}
        while below in done:
            done, below = done - {below}, below + 1
        return replace(
            self.without(place),
            frontier=book.frontier.to_bytes(),
            owed_nano=book.owed_nano,
            voucher=voucher,
            done_below=below,
            done=done,
        )


class ChannelFile:
    """Keeps one channel's book in a private file; each save is on disk when it returns.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> ChannelBook | None:
        """Return what was saved last, None where nothing was.

        Raises:
            Corrupted: the file holds something else.
            PermissionRefused: others may read it.
        """
        try:
            raw = read_private(self.path)
        except FileNotFoundError:
            return None
        try:
            found = json.loads(raw)
            if found["format"] != _FORMAT:
                raise ValueError(found["format"])
            return _book(found)
        except (ValueError, KeyError, TypeError, FarlaneError) as error:
            raise Corrupted(
                f"{self.path} is not a channel's book ({error}): restore it from a backup; without it no result of "
                "that channel can be checked, so move it away and open another channel",
                path=str(self.path),
            ) from error

    def save(self, book: ChannelBook) -> None:
        """Keep a book.

        Raises:
            DiskFull: it cannot be written.
        """
        private_directory(self.path.parent)
        atomic_write(self.path, json.dumps(_document(book), indent=1).encode(), 0o600)


def channel_file(directory: Path, network: str, payer: Address, node: Address) -> ChannelFile:
    """Return where a payer's channel to a node is kept, below the directory of all its channels."""
    return ChannelFile(directory / network / payer / node / "channel.json")


def _document(book: ChannelBook) -> dict[str, object]:
    channel, signed = book.channel, book.voucher
    return {
        "format": _FORMAT,
        "payer": channel.payer,
        "provider": channel.provider,
        "signer": channel.signer,
        "salt": channel.salt.hex(),
        "opened": book.opened,
        "frontier": book.frontier.hex(),
        "owed_nano": book.owed_nano,
        "voucher": None
        if signed is None
        else {
            "cumulative": str(signed.voucher.cumulative),
            "tasks": signed.voucher.tasks,
            "root": signed.voucher.root.hex(),
            "signature": signed.signature.hex(),
        },
        "done_below": book.done_below,
        "done": sorted(book.done),
        "pending": [_pending_document(one) for one in book.pending],
        "dispute": book.dispute,
    }


def _pending_document(order: PendingOrder) -> dict[str, object]:
    gpu = order.tariff.gpu
    return {
        "place": order.place,
        "task": order.task,
        "message": base64.b64encode(order.message).decode(),
        "reserve_nano": order.reserve_nano,
        "began": order.began,
        "rates": asdict(order.tariff.rates),
        "gpu": None if gpu is None else [gpu.model, gpu.vram_bytes],
    }


def _book(found: dict[str, Any]) -> ChannelBook:
    text = {name: str(found[name]) for name in ("payer", "provider", "signer", "salt", "frontier")}
    payer, provider, signer = (parse_address(text[name]) for name in ("payer", "provider", "signer"))
    channel = Channel(payer, provider, signer, bytes.fromhex(text["salt"]))
    frontier = bytes.fromhex(text["frontier"])
    Frontier.from_bytes(frontier)
    return ChannelBook(
        channel,
        bool(found["opened"]),
        frontier,
        int(str(found["owed_nano"])),
        _voucher(channel, found["voucher"]),
        int(found["done_below"]),
        frozenset(map(int, found["done"])),
        tuple(map(_pending, found["pending"])),
        str(found["dispute"]),
    )


def _voucher(channel: Channel, found: object) -> SignedVoucher | None:
    if not isinstance(found, dict):
        return None
    root, signature = bytes.fromhex(found["root"]), bytes.fromhex(found["signature"])
    return SignedVoucher(Voucher(channel.id, int(found["cumulative"]), int(found["tasks"]), root), signature)


def _pending(found: dict[str, Any]) -> PendingOrder:
    rates = dict(found["rates"])
    rates["gpu_second"] = tuple((str(model), int(rate)) for model, rate in rates["gpu_second"])
    gpu = None if found["gpu"] is None else GpuKind(str(found["gpu"][0]), int(found["gpu"][1]))
    return PendingOrder(
        int(found["place"]),
        str(found["task"]),
        base64.b64decode(found["message"]),
        int(found["reserve_nano"]),
        float(found["began"]),
        Tariff(RateVector(**rates), gpu),
    )
