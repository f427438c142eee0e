"""The suite every ledger with jobs passes: exact payouts of every outcome, and steps by the wrong hand or late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from farlane.ledger.accounts import PrivateKey
from farlane.ledger.jobs import JobLedger, JobState, Terms, sign_acceptance, sign_terms
from farlane.testing.ledger_suite import refused

RESULT = b"\6" * 32
START = 1000


@dataclass(frozen=True)
class JobWorld:
    """A fresh ledger where payer and provider have a free balance of 1,000 units each, and time can pass."""

    ledger: JobLedger
    payer: PrivateKey
    provider: PrivateKey
    arbiter: PrivateKey
    pass_time: Callable[[int], Awaitable[None]]

    async def terms(self) -> Terms:
        """Return terms of a price of 101, bonds of 30 and 7, and an hour for everything."""
        return Terms(
            payer=self.payer.address,
            provider=self.provider.address,
            arbiter=self.arbiter.address,
            price=101,
            provider_bond=30,
            dispute_bond=7,
            deadline=int(await self.ledger.now()) + 3600,
            window_s=3600,
            arbiter_window_s=3600,
            spec=b"\5" * 32,
            salt=b"\1" * 32,
        )

    async def opened(self) -> Terms:
        """Open a job."""
        terms = await self.terms()
        await self.ledger.open_job(self.payer, terms, sign_terms(self.ledger.domain, self.provider, terms))
        return terms

    async def submitted(self) -> Terms:
        """Open a job and submit its result."""
        terms = await self.opened()
        await self.ledger.submit_result(self.provider, terms, RESULT)
        return terms

    async def disputed(self) -> Terms:
        """Open a job, submit its result and dispute it."""
        terms = await self.submitted()
        await self.ledger.dispute(self.payer, terms)
        return terms

    async def gained(self, terms: Terms, state: JobState, payer: int, provider: int) -> None:
        """Check how a job ended and what each side has more, or less, than it began with."""
        assert (await self.ledger.job(terms.id)).state is state
        assert await self.ledger.balance(self.payer.address) == START + payer
        assert await self.ledger.balance(self.provider.address) == START + provider


class JobSuite:
    """Subclass it with a fixture `jobs` that returns a JobWorld."""

    async def test_an_accepted_job_pays_price_and_bond(self, jobs: JobWorld) -> None:
        """Both were locked by opening it."""
        terms = await jobs.submitted()
        await jobs.gained(terms, JobState.SUBMITTED, -101, -30)
        await jobs.ledger.accept_result(jobs.payer, terms, RESULT)
        await jobs.gained(terms, JobState.ACCEPTED, -101, 101)
        assert await jobs.ledger.settlements(jobs.provider.address) == 1
        assert await jobs.ledger.transaction_count() == 1

    async def test_a_payers_signature_ends_a_job(self, jobs: JobWorld) -> None:
        """For the result it names, no other."""
        terms, ledger = await jobs.opened(), jobs.ledger
        accepted = sign_acceptance(ledger.domain, jobs.payer, terms.id, RESULT)
        await refused(ledger.accept_result(jobs.provider, terms, bytes(32), accepted), "InvalidSignature")
        await ledger.accept_result(jobs.provider, terms, RESULT, accepted)
        await jobs.gained(terms, JobState.ACCEPTED, -101, 101)
        await refused(ledger.accept_result(jobs.payer, terms, RESULT), "WrongJobState")

    async def test_silence_pays_the_provider(self, jobs: JobWorld) -> None:
        """Once the window has passed."""
        terms = await jobs.submitted()
        await refused(jobs.ledger.finalize(jobs.provider, terms), "WindowOpen")
        await jobs.pass_time(3602)
        await refused(jobs.ledger.dispute(jobs.payer, terms), "WindowClosed")
        await jobs.ledger.finalize(jobs.provider, terms)
        await jobs.gained(terms, JobState.FINALIZED, -101, 101)

    async def test_a_missed_deadline_pays_the_payer(self, jobs: JobWorld) -> None:
        """The price comes back, with the provider's bond."""
        terms = await jobs.opened()
        await refused(jobs.ledger.reclaim(jobs.payer, terms), "DeadlineNotPassed")
        await jobs.pass_time(3602)
        await refused(jobs.ledger.submit_result(jobs.provider, terms, RESULT), "DeadlinePassed")
        await jobs.ledger.reclaim(jobs.payer, terms)
        await jobs.gained(terms, JobState.RECLAIMED, 30, -30)
        assert await jobs.ledger.settlements(jobs.provider.address) == 0

    async def test_a_false_dispute_costs_its_bond(self, jobs: JobWorld) -> None:
        """The arbiter, nobody else, gives the provider everything."""
        terms = await jobs.disputed()
        await jobs.gained(terms, JobState.DISPUTED, -108, -30)
        await refused(jobs.ledger.resolve(jobs.provider, terms, 101), "NotParty")
        await refused(jobs.ledger.resolve(jobs.arbiter, terms, 102), "ShareTooLarge")
        await jobs.ledger.resolve(jobs.arbiter, terms, 101)
        await jobs.gained(terms, JobState.RESOLVED, -108, 108)

    async def test_a_wrong_result_costs_its_bond(self, jobs: JobWorld) -> None:
        """The payer gets everything."""
        terms = await jobs.disputed()
        await jobs.ledger.resolve(jobs.arbiter, terms, 0)
        await jobs.gained(terms, JobState.RESOLVED, 30, -30)

    async def test_an_arbiter_may_share_out(self, jobs: JobWorld) -> None:
        """Then each has its own bond back."""
        terms = await jobs.disputed()
        await jobs.ledger.resolve(jobs.arbiter, terms, 40)
        await jobs.gained(terms, JobState.RESOLVED, -40, 40)

    async def test_a_silent_arbiter_halves_the_price(self, jobs: JobWorld) -> None:
        """The odd unit is the payer's."""
        terms = await jobs.disputed()
        await refused(jobs.ledger.arbiter_silent(jobs.payer, terms), "WindowOpen")
        await jobs.pass_time(3602)
        await refused(jobs.ledger.resolve(jobs.arbiter, terms, 0), "WindowClosed")
        await jobs.ledger.arbiter_silent(jobs.payer, terms)
        await jobs.gained(terms, JobState.SPLIT, -50, 50)

    async def test_what_cannot_be_opened(self, jobs: JobWorld) -> None:
        """Terms nobody signed, changed ones, impossible ones, and the same twice."""
        terms, ledger = await jobs.terms(), jobs.ledger
        signature = sign_terms(ledger.domain, jobs.provider, terms)
        await refused(ledger.open_job(jobs.provider, terms, signature), "NotParty")
        await refused(ledger.open_job(jobs.payer, replace(terms, price=1), signature), "InvalidSignature")
        for changes in ({"price": 0}, {"arbiter": terms.payer}, {"window_s": 366 * 86_400}):
            await refused(ledger.open_job(jobs.payer, replace(terms, **changes), signature), "InvalidTerms")
        dear = replace(terms, provider_bond=START + 1)
        agreed = sign_terms(ledger.domain, jobs.provider, dear)
        await refused(ledger.open_job(jobs.payer, dear, agreed), "InsufficientBalance")
        await ledger.open_job(jobs.payer, terms, signature)
        await refused(ledger.open_job(jobs.payer, terms, signature), "WrongJobState")
        await jobs.gained(terms, JobState.OPEN, -101, -30)
