"""A hub's books and its settlement on a chain for tests, which can be closed and opened again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from farlane.domain.bookkeeping import VoucherSigned
from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import TaskState
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.records import Column, TasksEnded
from farlane.domain.resources import GIB, Capacity
from farlane.hub.books.books import HubBook, HubBooks, NodeAccount, Signing, WaitingHead
from farlane.hub.books.inputs import InputDigests
from farlane.hub.books.payers import PayerState
from farlane.hub.reactor.state import Lease
from farlane.hub.settlement.chain import Connection
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.rounds import SettlementSettings
from farlane.hub.settlement.service import Settlement
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger import abi
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.deploy import Deployment
from farlane.ledger.keystore import KeyRing
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.passwords import machine_password
from farlane.ledger.rpc import RpcClient
from farlane.ledger.sending import Sender
from farlane.ledger.vouchers import Delegation, TreeHead, sign_head
from farlane.testing.builders import a_job

NODE, OTHER_NODE = NodeId("n-1"), NodeId("n-2")
NODE_KEY = PrivateKey.from_bytes(bytes([9]) * 32)
NODE_KEYS = {NODE: NODE_KEY, OTHER_NODE: PrivateKey.from_bytes(bytes([8]) * 32)}
CREDIT = 10**9


@dataclass
class Keeper:
    """The part of a hub that settlement sees."""

    books: HubBooks
    told: list[Signing] = field(default_factory=list)
    payers: dict[str, PayerState] = field(default_factory=dict)
    signed: list[VoucherSigned] = field(default_factory=list)

    @property
    def store(self) -> Keeper:
        """The store's part."""
        return self

    def vouchers(self, book: int, after: int, limit: int) -> list[VoucherSigned]:
        """Return vouchers of a book, as a store does."""
        return [one for one in self.signed if one.book == book and one.tasks > after][:limit]

    def node_name(self, node: NodeId) -> str:
        """Return a node's name."""
        return str(node)

    @property
    def bookkeeper(self) -> Keeper:
        """The bookkeeper's part."""
        return self

    def set_signing(self, signing: Signing) -> None:
        """Hear that the chain is there."""
        self.books.signing = signing
        self.told.append(signing)


class SettlingWorld:
    """A hub's books with two nodes, and its settlement on anvil.

    Args:
        directory: of outbox, keys and network file.
        url: of anvil.
        payers: organisations that hold their own accounts.
    """

    def __init__(self, directory: Path, url: str, payers: Mapping[str, Address] | None = None) -> None:
        self.directory, self.url = directory, url
        self.keys = HubKeys(directory / "keys", payers or {})
        inputs = InputDigests(lambda job, indices: Column([b""] * len(indices)))
        self.keeper = Keeper(HubBooks("ab" * 16, [], self.keys, inputs))
        self.keeper.books.on_seen = self.answer
        for node, key in NODE_KEYS.items():
            self.keeper.books.attach(
                node, NodeAccount(key.address, Delegation(key.address, key.address, 0), b"")
            )
        self.done, self.embedded = 0, True

    @contextlib.asynccontextmanager
    async def settling(
        self,
        starting: int = 1000 * CREDIT,
        policy: GasPolicy | None = None,
        least: int = 0,
        patience_s: float = 30.0,
    ) -> AsyncIterator[Settlement]:
        """Run settlement; nano-credits as in its settings."""
        settings = SettlementSettings(3600.0, CREDIT, least, starting, policy or GasPolicy(), patience_s)
        service = Settlement(
            self.directory, self.directory / "ledger.json", "ab" * 16, self.keys, settings, lambda: self.keeper,  # type: ignore[arg-type, return-value]
            self.connect,
        )  # fmt: skip  # the keeper stands for the hub
        async with TaskSupervisor("test") as tasks:
            running = tasks.start(service.run(), "settlement")
            yield service
            running.cancel()

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Reach the chain, as one that gives coin."""
        async with RpcClient(self.url) as rpc:

            async def faucet(to: Address, wei: int) -> Any:
                return await rpc.call("anvil_setBalance", to, hex(wei))

            async def outbox(
                path: Path, deployment: Deployment, key_of: Callable[[Address], PrivateKey | None]
            ) -> ChainOutbox:
                how = OutboxSettings(poll_s=0.02)
                return await ChainOutbox.open(path, rpc, deployment.chain_id, key_of, settings=how)

            yield Connection(rpc, self.embedded, "anvil", self.url, outbox, faucet)

    def rotate(self) -> None:
        """Put a new session key in the place of the hub's, as its owner does while it is down."""
        ring = KeyRing(self.directory / "keys")
        ring.rotate("session", machine_password(ring.directory))
        self.pay_from({})

    def pay_from(self, payers: Mapping[str, Address]) -> None:
        """Let the hub start anew, with these organisations holding their own accounts."""
        self.keys = HubKeys(self.directory / "keys", payers)
        self.keeper.books._accounts, self.keeper.books.signing = self.keys, None

    def work(self, count: int, amount: int, node: NodeId = NODE, organisation: str = "lab") -> None:
        """Let a node end some tasks of so many nano-credits each."""
        job, at = replace(a_job(), organisation=organisation), 1_790_000_000.0
        spec = NodeSpec(
            node, "rack", "works", Capacity(8000, 64 * GIB, GIB, ()), "3.11", "linux", RateVector(10)
        )
        record = TasksEnded(
            JobId(1), self.done, node, at, list(range(self.done, self.done + count)), [1] * count,
            bytes([TaskState.DONE]) * count, Column([b"r"] * count), {}, {}, [10] * count, [0] * count, [0] * count,
            [amount] * count,
        )  # fmt: skip
        self.keeper.books.book(record, job, spec, [Lease(1, at, 10**9, None)] * count)
        self.done += count

    def book(self, node: NodeId = NODE, organisation: str = "lab") -> HubBook:
        """Return the book in use."""
        return self.keeper.books.current[organisation, node]

    def sign(self, book: HubBook | None = None) -> None:
        """Let the node of a book sign its head, and the hub answer."""
        found = book or self.book()
        at, signing, node = found.book.boundary(), self.keeper.books.signing, found.opened.node
        assert signing is not None
        head = sign_head(signing.domain, NODE_KEYS[node], TreeHead(found.channel.id, at.size, at.root))
        self.answer(WaitingHead(node, found.opened.book, at.size, at.root, head.signature))

    def answer(self, *heads: WaitingHead) -> None:
        """Let the hub answer heads, those that wait too."""
        books = self.keeper.books
        for head in (*books.waiting.values(), *heads):
            books.waiting.pop(head.book, None)
            signed = books.sign(head.node, head.book, head.size, head.root, head.signature, 0.0)
            self.keeper.signed += [] if signed is None else [signed]

    async def send(self, service: Settlement, sender: Address, name: str, *arguments: Any) -> None:
        """Call the ledger contract from one of the hub's accounts, past its outbox."""
        deployment = service.desk.deployment
        async with RpcClient(self.url) as rpc:
            data = abi.encode_call("ComputeLedger", name, arguments)
            await Sender(rpc, deployment.chain_id).send(self.keys.key(sender), deployment.ledger, data)
