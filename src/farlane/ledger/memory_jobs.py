"""Jobs with bonds in memory: the contract's rules in plain Python, checked in the contract's own order."""

from __future__ import annotations

from farlane.errors import InvalidSignature
from farlane.ledger import port
from farlane.ledger.accounts import NO_ADDRESS, Address, PrivateKey, address_bytes, recover_bytes
from farlane.ledger.jobs import (
    MAX_WINDOW_S,
    JobState,
    JobStatus,
    Payout,
    Terms,
    award_payout,
    split_payout_provider_floor,
)
from farlane.ledger.memory import MemoryLedger, reverted
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.typed_data import Domain, digest
from farlane.ledger.vouchers import MAX_UNITS

_NEVER = JobStatus(JobState.NONE, 0)


class MemoryJobLedger(MemoryLedger):
    """The in-memory ledger with jobs: what a chain with ComputeLedger does, without a chain."""

    def __init__(
        self,
        domain: Domain,
        units_per_credit: int = 10**9,
        close_window_s: int = 86_400,
        now: int = 1_800_000_000,
    ) -> None:
        super().__init__(domain, units_per_credit, close_window_s, now)
        self._jobs: dict[bytes, JobStatus] = {}

    async def job(self, job: bytes) -> JobStatus:
        """Return a job by its id."""
        return self._jobs.get(job, _NEVER)

    async def open_job(self, key: PrivateKey, terms: Terms, provider_signature: bytes) -> TransactionReceipt:
        """Open a job as the payer `key`."""
        _only(key, terms.payer)
        if not _possible(terms):
            raise reverted("InvalidTerms")
        if self._now > terms.deadline:
            raise reverted("DeadlinePassed", terms.deadline)
        if self._jobs.get(terms.id, _NEVER).state is not JobState.NONE:
            raise reverted("WrongJobState", self._jobs[terms.id].state.value)
        _signed_by(terms.provider, digest(self._domain, "JobTerms", terms.values), provider_signature)
        self._debit(terms.payer, terms.price)
        return self._opened(terms)

    async def submit_result(self, key: PrivateKey, terms: Terms, result: bytes) -> TransactionReceipt:
        """Commit to a result as the provider `key`."""
        _only(key, terms.provider)
        self._in(terms, JobState.OPEN)
        if self._now > terms.deadline:
            raise reverted("DeadlinePassed", terms.deadline)
        self._step(terms, JobState.SUBMITTED)
        return self._receipt()

    async def accept_result(
        self, key: PrivateKey, terms: Terms, result: bytes, payer_signature: bytes = b""
    ) -> TransactionReceipt:
        """Accept a result as the payer, or with the payer's signature."""
        state = self._jobs.get(terms.id, _NEVER).state
        if state not in (JobState.OPEN, JobState.SUBMITTED):
            raise reverted("WrongJobState", state.value)
        if key.address != terms.payer:
            accepted = digest(self._domain, "Acceptance", (terms.id, result))
            _signed_by(terms.payer, accepted, payer_signature)
        return self._end(terms, JobState.ACCEPTED, Payout(0, terms.price + terms.provider_bond))

    async def finalize(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """Pay the provider after the window."""
        until = self._in(terms, JobState.SUBMITTED).since + terms.window_s
        if self._now <= until:
            raise reverted("WindowOpen", until)
        return self._end(terms, JobState.FINALIZED, Payout(0, terms.price + terms.provider_bond))

    async def reclaim(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """Pay the payer after a missed deadline."""
        self._in(terms, JobState.OPEN)
        if self._now <= terms.deadline:
            raise reverted("DeadlineNotPassed", terms.deadline)
        return self._end(terms, JobState.RECLAIMED, Payout(terms.price + terms.provider_bond, 0))

    async def dispute(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """Dispute a result as the payer `key`."""
        _only(key, terms.payer)
        until = self._in(terms, JobState.SUBMITTED).since + terms.window_s
        if self._now > until:
            raise reverted("WindowClosed", until)
        self._debit(terms.payer, terms.dispute_bond)
        self._step(terms, JobState.DISPUTED)
        return self._record(port.JobDisputed, terms.id)

    async def resolve(self, key: PrivateKey, terms: Terms, to_provider: int) -> TransactionReceipt:
        """Award the provider a part of the price as the arbiter `key`."""
        _only(key, terms.arbiter)
        until = self._in(terms, JobState.DISPUTED).since + terms.arbiter_window_s
        if self._now > until:
            raise reverted("WindowClosed", until)
        if to_provider > terms.price:
            raise reverted("ShareTooLarge", terms.price, to_provider)
        return self._end(terms, JobState.RESOLVED, award_payout(terms, to_provider))

    async def arbiter_silent(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """End a dispute no arbiter resolved in time."""
        until = self._in(terms, JobState.DISPUTED).since + terms.arbiter_window_s
        if self._now <= until:
            raise reverted("WindowOpen", until)
        return self._end(terms, JobState.SPLIT, split_payout_provider_floor(terms))

    def _opened(self, terms: Terms) -> TransactionReceipt:
        try:
            self._debit(terms.provider, terms.provider_bond)
        except Exception:
            self._balances[terms.payer] += terms.price  # the transaction is undone as a whole
            raise
        self._step(terms, JobState.OPEN)
        self._trades += 1
        return self._record(
            port.JobOpened, terms.id, terms.payer, terms.provider, terms.price, terms.provider_bond,
            terms.dispute_bond,
        )  # fmt: skip

    def _in(self, terms: Terms, expected: JobState) -> JobStatus:
        status = self._jobs.get(terms.id, _NEVER)
        if status.state is not expected:
            raise reverted("WrongJobState", status.state.value)
        return status

    def _step(self, terms: Terms, state: JobState) -> None:
        self._jobs[terms.id] = JobStatus(state, self._now)

    def _end(self, terms: Terms, state: JobState, payout: Payout) -> TransactionReceipt:
        self._step(terms, state)
        self._balances[terms.payer] += payout.to_payer
        self._balances[terms.provider] += payout.to_provider
        self._settlements[terms.provider] += payout.to_provider > 0
        return self._record(port.JobEnded, terms.id, state.value, payout.to_payer, payout.to_provider)


def _possible(terms: Terms) -> bool:
    parties = {terms.payer, terms.provider, terms.arbiter}
    return (
        terms.price > 0
        and len(parties) == 3
        and NO_ADDRESS not in parties
        and max(terms.window_s, terms.arbiter_window_s) <= MAX_WINDOW_S
        and terms.price + terms.provider_bond + terms.dispute_bond <= MAX_UNITS
    )


def _only(key: PrivateKey, party: Address) -> None:
    if key.address != party:
        raise reverted("NotParty", key.address)


def _signed_by(account: Address, signed: bytes, signature: bytes) -> None:
    try:
        found = recover_bytes(signed, signature)
    except InvalidSignature as error:
        raise reverted("InvalidSignature") from error
    if found != address_bytes(account):
        raise reverted("InvalidSignature")
