"""All books of a hub: one between each organisation and each node it uses, pure, rebuilt from the store's records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from farlane.domain.bookkeeping import BookOpened, BookRecord, BookState, LeavesBooked, VoucherSigned
from farlane.domain.ids import NodeId
from farlane.domain.jobs import JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.records import LeasesMetered
from farlane.errors import InvalidSignature, NotFound, PermissionRefused
from farlane.hub.books.backing import Backing, Promise
from farlane.hub.books.inputs import InputDigests
from farlane.hub.books.leaves import Bookable, LeafWriter, unbooked
from farlane.hub.books.served import ServedCounts
from farlane.hub.reactor.state import Lease
from farlane.ledger.accounts import NO_ADDRESS, Address, PrivateKey
from farlane.ledger.books import Book
from farlane.ledger.port import CLOSED, ChannelState
from farlane.ledger.tree import Frontier
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import (
    Channel,
    Delegation,
    SignedHead,
    TreeHead,
    Voucher,
    check_delegation,
    check_head,
    nano_ceiling,
    nano_floor,
    sign_voucher,
    units_floor,
)


class Accounts(Protocol):
    """Whose money it is."""

    def payer(self, organisation: str) -> Address:
        """Return the account an organisation pays from; NO_ADDRESS where it has none."""
        ...

    def signer(self) -> Address:
        """Return the session key that signs vouchers."""
        ...

    def holds_payer(self, organisation: str) -> bool:
        """Tell whether the hub can pay for an organisation, or only sign vouchers over its channels."""
        ...


class NoAccounts:
    """Books without accounts: leaves are kept, nothing is ever signed or paid. For tests of other rooms."""

    def payer(self, organisation: str) -> Address:
        """Return no account."""
        return NO_ADDRESS

    def signer(self) -> Address:
        """Return no key."""
        return NO_ADDRESS

    def holds_payer(self, organisation: str) -> bool:
        """Tell that there is nothing to hold."""
        return True


@dataclass(frozen=True, slots=True)
class NodeAccount:
    """Who a node is on the ledger: the key that signs heads, who is paid, and why the one may sign for the other."""

    key: Address
    delegation: Delegation
    delegation_signature: bytes

    @property
    def provider(self) -> Address:
        """Return who is paid."""
        return self.delegation.provider


@dataclass(slots=True)
class HubBook:
    """One book: its opening record, the book itself, and the newest voucher as it was recorded.

    durable: leaves that are on disk.
    """

    opened: BookOpened
    channel: Channel
    book: Book
    voucher: VoucherSigned | None
    durable: int = 0

    @property
    def payable(self) -> bool:
        """Tell whether both sides have accounts."""
        return NO_ADDRESS not in (self.channel.payer, self.channel.provider, self.channel.signer)

    @property
    def unsigned(self) -> bool:
        """Tell whether there are leaves that no voucher pays for yet."""
        return self.durable > (0 if self.voucher is None else self.voucher.tasks)


@dataclass(frozen=True, slots=True)
class Signing:
    """What signing needs: the domain, units of the token in a credit, and the session key.

    retired: finds a session key of before by its address, None where it is not at hand: channels keep their signer;
    starting: units that an account which was never heard of has, None where there is no chain and nothing has to stand
    behind vouchers; embedded: the chain is the hub's own.
    """

    domain: Domain
    units_per_credit: int
    key: PrivateKey
    retired: Callable[[Address], PrivateKey | None] = lambda address: None
    starting: int | None = None
    embedded: bool = True

    def key_of(self, signer: Address) -> PrivateKey | None:
        """Return the key that signs for channels of a signer, None where it is not at hand."""
        return self.key if self.key.address == signer else self.retired(signer)


@dataclass(frozen=True, slots=True)
class WaitingHead:
    """A head that could not be answered yet."""

    node: NodeId
    book: int
    size: int
    root: bytes
    signature: bytes


class HubBooks:
    """Keeps every book.

    Args:
        network: the network's id, for salts that no other network has.
        states: what the store has.
        accounts: whose money it is.
        inputs: digests of payloads.
        served: what replicas have served.
    """

    def __init__(
        self,
        network: str,
        states: Iterable[BookState],
        accounts: Accounts,
        inputs: InputDigests,
        served: ServedCounts | None = None,
    ) -> None:
        self.served = served or ServedCounts()
        self.all: dict[int, HubBook] = {}
        self.current: dict[tuple[str, NodeId], HubBook] = {}
        self.nodes: dict[NodeId, NodeAccount] = {}
        self.signing: Signing | None = None
        self._network, self._accounts, self._inputs, self._writer = network, accounts, inputs, LeafWriter()
        for state in states:
            self._add(_restored(state))
        self.backing = Backing(map(self._promised, self.all.values()))
        self.waiting: dict[int, WaitingHead] = {}
        """Book -> its newest head, where nothing stands behind a voucher for it or the chain is not there yet."""
        self.on_seen: Callable[[], None] = lambda: None
        """Called when heads that wait may be answered."""

    def holds_payer(self, organisation: str) -> bool:
        """Tell whether the hub holds the account an organisation pays from."""
        return self._accounts.holds_payer(organisation)

    def see(self, channels: Mapping[int, ChannelState], free: Mapping[Address, int]) -> None:
        """Hear what the chain says of channels, by book, and of balances of payers, in units."""
        self.backing.see(channels, free, map(self._promised, self.all.values()))
        self.on_seen()

    def organisations(self) -> set[str]:
        """Return whose books there are."""
        return {one.opened.organisation for one in self.all.values()}

    def of_organisation(self, organisation: str) -> list[HubBook]:
        """Return an organisation's books that can be paid, used no more ones too."""
        return [one for one in self.all.values() if one.opened.organisation == organisation and one.payable]

    def lacking_nano(self, organisation: str) -> int:
        """Return what an account that the hub holds lacks for what its organisation owes, as last seen."""
        signing, books = self.signing, self._paid_now(organisation)
        if signing is None or not books or not self.holds_payer(organisation):
            return 0
        owed = [(one.opened.book, units_floor(one.book.owed_nano, signing.units_per_credit)) for one in books]
        missing = self.backing.lacking(self.account(organisation), owed)
        return nano_ceiling(missing, signing.units_per_credit)

    def held_nano(self, organisation: str) -> int | None:
        """Return what is in the account that the hub holds of an organisation, its channels included.

        None before it was first seen.
        """
        signing, books = self.signing, self._paid_now(organisation)
        free = self.backing.free(self.account(organisation)) if books else None
        if free is None or signing is None:
            return None
        states = [self.backing.channel(one.opened.book) for one in books]
        locked = sum(state.deposit - state.claimed for state in states if state.close_at != CLOSED)
        return nano_floor(free + locked, signing.units_per_credit)

    def _paid_now(self, organisation: str) -> list[HubBook]:
        books = self.of_organisation(organisation)
        return [one for one in books if one.channel.payer == self.account(organisation)]

    def account(self, organisation: str) -> Address:
        """Return the account an organisation pays from."""
        return self._accounts.payer(organisation)

    def inputs(self) -> InputDigests:
        """Return what remembers payload digests."""
        return self._inputs

    def attach(self, node: NodeId, account: NodeAccount) -> None:
        """Hear who a node is on the ledger."""
        self.nodes[node] = account

    def of_node(self, node: NodeId) -> list[HubBook]:
        """Return the books in use with a node."""
        return [book for (_, other), book in self.current.items() if other == node]

    def unsigned_of(self, node: NodeId) -> list[HubBook]:
        """Return books that are used no more, of which a node has leaves without a voucher; oldest first."""
        used, account = {id(found) for found in self.of_node(node)}, self.nodes.get(node)
        return [
            found for found in self.all.values()
            if found.opened.node == node and found.unsigned and found.payable and id(found) not in used
            and account is not None and account.provider == found.channel.provider
        ]  # fmt: skip

    def supersede(self, number: int) -> None:
        """Stop using a book: the next leaf between its two sides opens another."""
        found = self.all[number].opened
        key = found.organisation, found.node
        if key in self.current and self.current[key].opened.book == number:
            del self.current[key]

    def book(
        self, record: Bookable, spec: JobSpec, node: NodeSpec, leases: Sequence[Lease]
    ) -> list[BookRecord]:
        """Add the leaves of attempts that ended on a node, or of parts of them; returns the records to keep."""
        ask = self._inputs.look if isinstance(record, LeasesMetered) else self._inputs.take
        inputs, statements = ask(record.job, record.indices), self.served.statements(record, spec, leases)
        leaves = self._writer.leaves(record, spec, node.rates, leases, inputs, statements)
        lease_ms, amounts = unbooked(record, leases)
        hub_book, out = self._open(spec.organisation, node, record.at)
        first = hub_book.book.size
        hub_book.book.append(leaves)
        out.append(
            LeavesBooked(
                hub_book.opened.book, first, leaves, record.job, spec.organisation, spec.project, spec.publisher,
                node.node, node.organisation, record.at, sum(lease_ms), sum(amounts),
                hub_book.book.owed_nano, hub_book.book.frontier.to_bytes(), statements,
            )
        )  # fmt: skip
        return out

    def forget_job(self, job: int) -> None:
        """Drop what is kept of a job that has ended."""
        self._writer.forget(job)  # type: ignore[arg-type]  # a job's id

    def sign(
        self, node: NodeId, number: int, size: int, root: bytes, signature: bytes, now: float
    ) -> VoucherSigned | None:
        """Answer a head that a node has signed; None where nothing is to be said (yet).

        Raises:
            NotFound: no such book.
            PermissionRefused: it is another node's.
            Conflict: no batch ended at this size.
            InvalidSignature: another tree, or not the node's signature.
        """
        found, account, signing = self.all.get(number), self.nodes.get(node), self.signing
        if found is None:
            raise NotFound(f"this hub keeps no book {number}", book=number)
        if found.opened.node != node:
            raise PermissionRefused(f"book {number} is kept with another node", book=number)
        if account is None or not found.payable:
            return None
        head = WaitingHead(node, number, size, root, signature)
        if signing is None:
            self.waiting[number] = head
            return None
        promise = found.book.promise(found.channel.id, size, root, signing.units_per_credit)
        if promise is None:
            return None
        self._check_head(found, account, SignedHead(TreeHead(found.channel.id, size, root), signature), now)
        key = signing.key_of(found.channel.signer)
        if key is None:
            return None
        before = self._promised(found)
        if signing.starting is not None and not self.backing.covers(
            before, promise.cumulative, signing.starting
        ):
            self.waiting[number] = head
            return None
        self.waiting.pop(number, None)
        self.backing.promise(before, promise.cumulative)
        signed = sign_voucher(signing.domain, key, promise)
        found.book.give(promise)
        found.voucher = VoucherSigned(
            number, promise.tasks, promise.cumulative, promise.root, signed.signature, signature, account.key,
            account.delegation.expires, account.delegation_signature, now,
        )  # fmt: skip
        return found.voucher

    def _promised(self, found: HubBook) -> Promise:
        units = 0 if found.voucher is None else found.voucher.cumulative
        organisation = found.opened.organisation
        # What an account of before holds is not counted: an organisation can have taken its account into its own hands.
        held = self.holds_payer(organisation) and found.channel.payer == self.account(organisation)
        return Promise(found.opened.book, found.channel.payer, held, units)

    def _check_head(self, found: HubBook, account: NodeAccount, head: SignedHead, now: float) -> None:
        assert self.signing is not None
        domain = self.signing.domain
        if account.provider != found.channel.provider:
            raise InvalidSignature(
                f"the node's provider is {account.provider}; this book is with {found.channel.provider}"
            )
        check_delegation(domain, account.delegation, account.delegation_signature, now)
        check_head(domain, head, account.key)

    def _open(self, organisation: str, node: NodeSpec, at: float) -> tuple[HubBook, list[BookRecord]]:
        """Return the book in use between two sides, a new one where there is none or an account has changed."""
        account = self.nodes.get(node.node)
        provider = NO_ADDRESS if account is None else account.provider
        payer, signer = self._accounts.payer(organisation), self._accounts.signer()
        known = self.current.get((organisation, node.node))
        if known is not None:
            # A node that has not said hello since a restart is the one it was.
            same_provider = account is None or known.channel.provider == provider
            if same_provider and (known.channel.payer, known.channel.signer) == (payer, signer):
                return known, []
        number = max(self.all, default=0) + 1
        opened = BookOpened(
            number, organisation, node.node, node.organisation, payer, provider, signer,
            salt_of(self._network, number), at,
        )  # fmt: skip
        found = HubBook(opened, channel_of(opened), Book(), None)
        self._add(found)
        return found, [opened]

    def _add(self, found: HubBook) -> None:
        opened = found.opened
        self.all[opened.book] = found
        self.current[opened.organisation, opened.node] = found


def salt_of(network: str, book: int) -> bytes:
    """Return a book's salt: 32 bytes that no other book of any network has."""
    return sha256(b"farlane book\0" + network.encode() + book.to_bytes(8, "big")).digest()


def channel_of(opened: BookOpened) -> Channel:
    """Return a book's channel."""
    return Channel(Address(opened.payer), Address(opened.provider), Address(opened.signer), opened.salt)


def _restored(state: BookState) -> HubBook:
    channel, signed = channel_of(state.opened), state.voucher
    frontier = Frontier.from_bytes(state.frontier) if state.frontier else Frontier()
    voucher = None if signed is None else Voucher(channel.id, signed.cumulative, signed.tasks, signed.root)
    return HubBook(state.opened, channel, Book(frontier, state.owed_nano, voucher), signed, frontier.size)
