"""Receipts made from the store: one for each leaf of a task, proved in a tree that both sides signed."""

from __future__ import annotations

import threading
from collections import OrderedDict

from farlane.domain.bookkeeping import BookOpened, VoucherSigned
from farlane.domain.ids import TaskId
from farlane.hub.books.books import Signing, channel_of
from farlane.hub.store.port import Store
from farlane.ledger.accounts import Address
from farlane.ledger.leaf import unpack
from farlane.ledger.receipt import Receipt
from farlane.ledger.tree import Tree, leaf_hash
from farlane.ledger.vouchers import Delegation, SignedHead, SignedVoucher, TreeHead, Voucher

MAX_KEPT_LEAVES = 2_000_000
"""Leaves whose trees are kept, 64 bytes each; the tree used least recently goes first."""
PAGE_LEAVES = 8192


class TreeCache:
    """Trees of books, so that a proof does not hash a book again; they grow with their book. For worker threads.

    Args:
        store: what the leaves are read from.
        max_leaves: kept at most; the tree in use stays whatever its size.
    """

    def __init__(self, store: Store, max_leaves: int = MAX_KEPT_LEAVES) -> None:
        self._store, self._max = store, max_leaves
        self._trees: OrderedDict[int, Tree] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def kept_leaves(self) -> int:
        """Leaves of all trees that are kept."""
        return sum(tree.size for tree in self._trees.values())

    def inclusion(self, book: int, index: int, size: int) -> list[bytes]:
        """Return the proof that leaf `index` is in a book's first `size` leaves."""
        with self._lock:
            tree = self._trees.setdefault(book, Tree())
            self._trees.move_to_end(book)
            while tree.size < size:
                page = self._store.leaves(book, tree.size, min(PAGE_LEAVES, size - tree.size))
                tree.extend(map(leaf_hash, page))
            while self.kept_leaves > self._max and len(self._trees) > 1:
                self._trees.popitem(last=False)
            return tree.inclusion(index, size)


class ReceiptDesk:
    """Makes receipts of what a store holds.

    Args:
        store: the hub's.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._trees = store, TreeCache(store)

    def receipts(self, task: TaskId, signing: Signing, tasks: int = 0) -> tuple[list[Receipt], int]:
        """Return a task's receipts, oldest first, and how many of its leaves stand in no such tree yet.

        Args:
            task: whose.
            signing: of this hub.
            tasks: leaves that the trees must have at least; the smallest that both sides signed are taken.
        """
        places = self._store.leaf_places(task)
        opened = {state.opened.book: state.opened for state in self._store.books()}
        found, unsigned = [], 0
        for book, index in places:
            vouchers = self._store.vouchers(book, max(index, tasks - 1), 1)
            if vouchers:
                found.append(self._receipt(opened[book], index, vouchers[0], signing))
            else:
                unsigned += 1
        return found, unsigned

    def _receipt(self, opened: BookOpened, index: int, signed: VoucherSigned, signing: Signing) -> Receipt:
        channel = channel_of(opened)
        proof = self._trees.inclusion(opened.book, index, signed.tasks)
        head = TreeHead(channel.id, signed.tasks, signed.root)
        voucher = Voucher(channel.id, signed.cumulative, signed.tasks, signed.root)
        return Receipt(
            signing.domain,
            channel,
            unpack(self._store.leaves(opened.book, index, 1)[0]),
            index,
            tuple(proof),
            SignedHead(head, signed.head_signature),
            Delegation(channel.provider, Address(signed.node_key), signed.expires),
            signed.delegation_signature,
            SignedVoucher(voucher, signed.signature),
            self._store.statements(opened.book, index, 1).get(index, b""),
        )
