"""The hub's books: every ended attempt is a leaf, every signed head gets the voucher it earns, and forks are found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.domain.bookkeeping import BookOpened, BookState, LeavesBooked, VoucherSigned
from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import BlobRef, JobSpec, TaskState
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.records import AttemptsFailed, Column, LeasesMetered, TasksEnded
from farlane.domain.resources import GIB, Capacity
from farlane.errors import Conflict, InvalidSignature, NotFound, PermissionRefused
from farlane.hub.books.books import HubBooks, NodeAccount, Signing
from farlane.hub.books.inputs import InputDigests
from farlane.hub.reactor.state import Lease
from farlane.hub.store.book_history import count_ended
from farlane.kit.cid import cid_of
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.leaf import NONE, Leaf, Outcome, unpack
from farlane.ledger.port import ChannelState
from farlane.ledger.tree import Tree, leaf_hash
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import (
    Delegation,
    SignedVoucher,
    TreeHead,
    Voucher,
    check_voucher,
    sign_head,
)
from farlane.testing.builders import a_command, a_job

PAYER, SESSION, NODE_KEY, OTHER = (PrivateKey.from_bytes(bytes([digit]) * 32) for digit in (1, 2, 3, 4))
DOMAIN = Domain(1, OTHER.address, "ab" * 16)
NODE = NodeId("n-1")
RATES = RateVector(core_second=10, gib_second=3)
SPEC = NodeSpec(NODE, "rack", "works", Capacity(8000, 64 * GIB, GIB, ()), "3.11", "linux", RATES)
JOB = replace(a_job(), organisation="lab", publisher="lab/ada", project="apples")
SIGNING = Signing(DOMAIN, 10**9, SESSION)
AT = 1_790_000_000.5
LEASE = Lease(1, AT, 10**9, None)


class Lab:
    """Accounts of a hub with one organisation."""

    def payer(self, organisation: str) -> Address:
        return PAYER.address

    def signer(self) -> Address:
        return SESSION.address

    def holds_payer(self, organisation: str) -> bool:
        return True


def own(key: PrivateKey) -> NodeAccount:
    return NodeAccount(key.address, Delegation(key.address, key.address, 0), b"")


def payloads(job: JobId, indices: list[int]) -> Column:
    return Column([b"payload %d" % index for index in indices])


@pytest.fixture
def books() -> HubBooks:
    found = HubBooks("net", [], Lab(), InputDigests(payloads))
    found.attach(NODE, own(NODE_KEY))
    found.signing = SIGNING
    return found


def ended(first: int, count: int, state: TaskState = TaskState.DONE, **changes: object) -> TasksEnded:
    rows = list(range(first, first + count))
    failures = (
        {} if state is TaskState.DONE else dict.fromkeys(range(count), Failure(FailureKind.TIMEOUT, ""))
    )
    record = TasksEnded(
        JobId(7), first, NODE, AT, rows, [1] * count, bytes([state]) * count, Column([b"result"] * count), failures,
        {}, [1500] * count, [0] * count, [0] * count, [25] * count,
    )  # fmt: skip
    return replace(record, **changes)  # type: ignore[arg-type]


def book(
    books: HubBooks,
    record: TasksEnded | AttemptsFailed | LeasesMetered,
    spec: JobSpec = JOB,
    lease: Lease | None = None,
) -> list[Leaf]:
    records = books.book(record, spec, SPEC, [lease or LEASE] * len(record.indices))
    booked = records[-1]
    assert isinstance(booked, LeavesBooked)
    return [unpack(leaf) for leaf in booked.leaves]


def head_of(books: HubBooks, key: PrivateKey = NODE_KEY) -> tuple[int, bytes, bytes]:
    (found,) = books.of_node(NODE)
    at = found.book.boundary()
    signed = sign_head(DOMAIN, key, TreeHead(found.channel.id, at.size, at.root))
    return at.size, at.root, signed.signature


def test_a_result_becomes_a_leaf_with_its_price_and_digests(books: HubBooks) -> None:
    (leaf,) = book(books, ended(3, 1))
    assert (leaf.task, leaf.attempt, leaf.outcome, leaf.lease_ms, leaf.amount_nano) == (
        7 << 24 | 3,
        1,
        0,
        1500,
        25,
    )
    assert leaf.ended_ms == 1_790_000_000_500
    assert cid_of(b"payload 3") == cid_of_leaf(leaf.input)
    assert cid_of(b"result") == cid_of_leaf(leaf.output)


def cid_of_leaf(digest: bytes) -> str:
    from farlane.kit.cid import cid_of_digest

    return cid_of_digest(digest)


def test_parts_and_the_end_of_an_attempt_add_up_to_what_it_costs(books: HubBooks) -> None:
    part = LeasesMetered(JobId(7), NODE, AT, [3], [1], [1], [1000], [17])
    (first,) = book(books, part)
    assert (first.outcome, first.part, first.lease_ms, first.amount_nano) == (Outcome.INTERIM, 1, 1000, 17)
    assert first.output == NONE
    (last,) = book(books, ended(3, 1), lease=Lease(1, AT, 10**9, None, part=1, part_ms=1000, paid=17))
    assert (last.outcome, last.part, last.lease_ms, last.amount_nano) == (Outcome.DONE, 0, 500, 8)
    assert cid_of_leaf(first.input) == cid_of_leaf(last.input) == cid_of(b"payload 3")
    (found,) = books.of_node(NODE)
    assert found.book.owed_nano == 25


def test_usage_of_a_part_counts_time_and_money_and_no_attempt(books: HubBooks) -> None:
    part = LeasesMetered(JobId(7), NODE, AT, [3, 4], [1, 1], [1, 2], [1000, 500], [17, 9])
    booked = books.book(part, JOB, SPEC, [LEASE] * 2)[-1]
    assert isinstance(booked, LeavesBooked)
    assert (booked.lease_ms, booked.spent, count_ended(booked.leaves)) == (1500, 26, 0)
    end = books.book(ended(3, 1), JOB, SPEC, [Lease(1, AT, 10**9, None, 1, 1000, 17)])[-1]
    assert isinstance(end, LeavesBooked)
    assert (end.lease_ms, end.spent, count_ended(end.leaves)) == (500, 8, 1)


def test_a_payload_that_cannot_be_read_for_a_part_is_asked_for_again() -> None:
    answers = [NotFound("not now"), Column([b"payload"])]

    def pick(job: JobId, indices: list[int]) -> Column:
        answer = answers.pop(0)
        if isinstance(answer, NotFound):
            raise answer
        return answer

    inputs = InputDigests(pick)
    assert inputs.look(JobId(7), [3]) == [NONE]
    (digest,) = inputs.look(JobId(7), [3])
    assert cid_of_leaf(digest) == cid_of(b"payload")
    assert inputs.take(JobId(7), [3]) == [digest]
    assert answers == []


def test_results_that_are_blobs_are_named_by_their_content(books: HubBooks) -> None:
    blob = BlobRef(cid_of(b"large"), 5)
    (leaf,) = book(books, ended(0, 1, results=Column([b""], {0: blob})))
    assert cid_of_leaf(leaf.output) == blob.cid


def test_every_failure_carries_its_blame(books: HubBooks) -> None:
    lost = AttemptsFailed(JobId(7), NODE, AT, [0], [1], [Failure(FailureKind.NODE_LOST, "gone")], [9], [0])
    (again,) = book(books, lost)
    (late,) = book(books, ended(1, 1, TaskState.FAILED))
    assert (again.outcome, again.blame, again.amount_nano) == (Outcome.RUNS_AGAIN, 2, 0)
    assert (late.outcome, late.blame, late.amount_nano, late.output) == (Outcome.FAILED, 1, 25, NONE)


def test_a_command_is_named_by_its_output_files(books: HubBooks) -> None:
    (leaf,) = book(books, ended(0, 1), spec=replace(a_command("true"), organisation="lab"))
    assert leaf.output == NONE


def test_records_say_who_used_what(books: HubBooks) -> None:
    opened, booked = books.book(ended(0, 2), JOB, SPEC, [LEASE] * 2)
    assert isinstance(opened, BookOpened)
    assert isinstance(booked, LeavesBooked)
    assert (opened.payer, opened.provider, opened.signer) == (
        PAYER.address,
        NODE_KEY.address,
        SESSION.address,
    )
    used = (booked.organisation, booked.project, booked.publisher, booked.node_organisation)
    assert used == ("lab", "apples", "lab/ada", "works")
    assert (booked.lease_ms, booked.spent, booked.owed_nano) == (3000, 50, 50)


def test_a_signed_head_gets_the_voucher_that_pays_for_all_of_it(books: HubBooks) -> None:
    book(books, ended(0, 3))
    signed = books.sign(NODE, 1, *head_of(books), AT)
    assert signed is not None
    assert (signed.tasks, signed.cumulative) == (3, 75)
    promise = Voucher(books.all[1].channel.id, signed.cumulative, signed.tasks, signed.root)
    check_voucher(DOMAIN, SignedVoucher(promise, signed.signature), SESSION.address)
    assert books.sign(NODE, 1, *head_of(books), AT) is None  # the same again is owed nothing


def test_heads_of_others_and_of_other_trees_are_refused(books: HubBooks) -> None:
    book(books, ended(0, 3))
    size, root, signature = head_of(books)
    with pytest.raises(InvalidSignature, match="differ"):
        books.sign(NODE, 1, size, bytes(32), signature, AT)
    with pytest.raises(InvalidSignature, match="signed by"):
        books.sign(NODE, 1, *head_of(books, OTHER), AT)
    with pytest.raises(Conflict):
        books.sign(NODE, 1, 2, root, signature, AT)
    with pytest.raises(PermissionRefused):
        books.sign(NodeId("n-2"), 1, size, root, signature, AT)
    with pytest.raises(NotFound):
        books.sign(NODE, 99, size, root, signature, AT)


def test_a_delegation_that_ran_out_signs_nothing(books: HubBooks) -> None:
    delegation = Delegation(OTHER.address, NODE_KEY.address, int(AT) - 1)
    books.attach(NODE, NodeAccount(NODE_KEY.address, delegation, b""))
    book(books, ended(0, 1))
    with pytest.raises(InvalidSignature, match="sign a new delegation"):
        books.sign(NODE, 1, *head_of(books), AT)


def test_nothing_is_signed_before_the_chain_is_there(books: HubBooks) -> None:
    books.signing = None
    book(books, ended(0, 1))
    assert books.sign(NODE, 1, *head_of(books), AT) is None


def test_a_node_that_is_paid_elsewhere_gets_another_book(books: HubBooks) -> None:
    book(books, ended(0, 1))
    books.attach(NODE, own(OTHER))
    opened = books.book(ended(1, 1), JOB, SPEC, [LEASE])[0]
    assert isinstance(opened, BookOpened)
    assert (opened.book, opened.provider) == (2, OTHER.address)
    assert opened.salt != books.all[1].opened.salt


def test_books_go_on_after_a_restart(books: HubBooks) -> None:
    records = books.book(ended(0, 3), JOB, SPEC, [LEASE] * 3)
    signed = books.sign(NODE, 1, *head_of(books), AT)
    opened, booked = records
    assert isinstance(opened, BookOpened)
    assert isinstance(booked, LeavesBooked)
    assert isinstance(signed, VoucherSigned)
    state = BookState(opened, booked.frontier, booked.owed_nano, signed)
    again = HubBooks("net", [state], Lab(), InputDigests(payloads))
    again.attach(NODE, own(NODE_KEY))
    again.signing = SIGNING
    more = again.book(ended(3, 2), JOB, SPEC, [LEASE] * 2)[-1]
    assert isinstance(more, LeavesBooked)
    assert more.first == 3
    tree = Tree(map(leaf_hash, (*booked.leaves, *more.leaves)))
    assert again.all[1].book.boundary().root == tree.root()
    newer = again.sign(NODE, 1, *head_of(again), AT)
    assert newer is not None
    assert (newer.tasks, newer.cumulative) == (5, 125)


def test_lost_payloads_do_not_hold_up_the_books() -> None:
    def lost(job: JobId, indices: list[int]) -> Column:
        raise NotFound("gone")

    inputs = InputDigests(lost)
    assert inputs.take(JobId(1), [0, 1]) == [NONE, NONE]


def test_a_book_of_before_a_rotation_is_signed_for_by_its_own_key() -> None:
    accounts = Lab()
    found = HubBooks("net", [], accounts, InputDigests(payloads))
    found.attach(NODE, own(NODE_KEY))
    book(found, ended(0, 2))
    (old,) = found.of_node(NODE)
    old.durable, old_head = 2, head_of(found)
    accounts.signer = lambda: OTHER.address  # type: ignore[method-assign]
    book(found, ended(2, 1))
    (new,) = found.of_node(NODE)
    assert (new.channel.signer, found.unsigned_of(NODE)) == (OTHER.address, [old])
    found.signing = Signing(DOMAIN, 10**9, OTHER)
    assert found.sign(NODE, 1, *old_head, AT) is None  # a wrong voucher is worse than none
    found.signing = Signing(DOMAIN, 10**9, OTHER, {SESSION.address: SESSION}.get)
    for number, key, head in ((1, SESSION, old_head), (2, OTHER, head_of(found))):
        signed = found.sign(NODE, number, *head, AT)
        assert signed is not None
        voucher = Voucher(found.all[number].channel.id, signed.cumulative, signed.tasks, signed.root)
        check_voucher(DOMAIN, SignedVoucher(voucher, signed.signature), key.address)
    assert found.unsigned_of(NODE) == []


def test_a_head_that_nothing_covers_waits_and_is_answered_when_money_is_seen(books: HubBooks) -> None:
    books.signing = replace(SIGNING, starting=30)
    book(books, ended(0, 1))
    assert books.sign(NODE, 1, *head_of(books), AT) is not None  # what all begin with covers it
    book(books, ended(1, 1))
    head = head_of(books)
    assert books.sign(NODE, 1, *head, AT) is None
    assert (books.held_nano("lab"), books.lacking_nano("lab")) == (None, 0)  # nobody has looked yet
    seen: list[int] = []
    books.on_seen = lambda: seen.append(len(books.waiting))
    books.see({1: ChannelState(20, 5, 0)}, {PAYER.address: 10})
    assert (seen, books.held_nano("lab"), books.lacking_nano("lab")) == ([1], 25, 20)
    books.see({}, {PAYER.address: 30})
    assert books.lacking_nano("lab") == 0
    assert books.sign(NODE, 1, *head, AT) is not None
    assert books.waiting == {}


def test_money_of_an_account_that_is_the_organisations_own_by_now_is_not_counted(books: HubBooks) -> None:
    books.signing = replace(SIGNING, starting=0)
    book(books, ended(0, 1))
    books.see({}, {PAYER.address: 1000, OTHER.address: 1000})
    books._accounts.payer = lambda organisation: OTHER.address  # type: ignore[method-assign]
    assert books.sign(NODE, 1, *head_of(books), AT) is None
    assert books.lacking_nano("lab") == 0
