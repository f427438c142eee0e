"""Opening a node's books: its file, its key and its settings, read in one go before the node joins; blocks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from farlane.domain.prices import RateVector
from farlane.errors import InvalidSetting, NotFound
from farlane.ledger.typed_data import Domain
from farlane.node.books.claim_terms import claim_terms
from farlane.node.books.credit import credit_limit_floor
from farlane.node.books.disputes import Disputes
from farlane.node.books.entries import PricesAsked, StoredBooks
from farlane.node.books.signing import HeadKey, load_head_key
from farlane.node.books.store import BookStore
from farlane.node.settings import NodeSettings

if TYPE_CHECKING:
    from farlane.ledger.deploy import Deployment

FILE = "books.db"
EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When heads are signed (leaves, seconds), and how far the node works ahead of payment; None: without limit."""

    head_tasks: int = 1000
    head_s: float = 5.0
    credit_nano: int | None = None


@dataclass(frozen=True, slots=True)
class OpenedBooks:
    """What a keeper works with.

    store, stored: the file and what it held; key: who signs and is paid; pinned: where signatures must count, if the
    node's owner has said so.
    """

    store: BookStore
    stored: StoredBooks
    key: HeadKey
    disputes: Disputes
    rhythm: Rhythm
    pinned: Domain | None = None


def read_network_file(path: Path) -> Deployment:
    """Return what a network file says.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no network file.
    """
    from farlane.ledger.deploy import deployment_from_json

    try:
        return deployment_from_json(path.read_bytes())
    except OSError as error:
        raise NotFound(f"node.network_file: {path} cannot be read ({error}): check the path") from error


def open_books(settings: NodeSettings, rates: RateVector, now: float) -> OpenedBooks:
    """Open what belongs to a node's books in its directory; what is not there is made.

    Args:
        settings: the node's.
        rates: its prices: leaves at earlier ones are known from the file.
        now: unix seconds.

    Raises:
        InvalidSetting: a setting that cannot be.
        FarlaneError: see `load_head_key`, `BookStore.open` and `read_network_file`.
    """
    if settings.rpc is not None and settings.network_file is None:
        raise InvalidSetting("node.rpc is set without node.network_file: name the network's file too")
    claim_terms(settings)
    rhythm = Rhythm(settings.head_tasks, settings.head_s, credit_limit_floor(settings.credit))
    key = load_head_key(settings.directory, settings.provider, settings.delegation, now)
    pinned = key.domain
    if settings.network_file is not None:
        pinned = read_network_file(settings.network_file).domain
    store = BookStore.open(settings.directory / FILE)
    try:
        if rates not in store.load().prices:
            store.append([PricesAsked(rates)], lambda error: None)
        stored = store.load()
        if store.refusal is not None:
            raise store.refusal
    except BaseException:
        store.close()
        raise
    return OpenedBooks(store, stored, key, Disputes(settings.directory / EVIDENCE), rhythm, pinned)
