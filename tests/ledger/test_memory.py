"""The in-memory ledger passes the suite of the port."""

from __future__ import annotations

import pytest

from farlane.ledger.accounts import NO_ADDRESS, PrivateKey
from farlane.ledger.memory import MemoryLedger
from farlane.ledger.memory_jobs import MemoryJobLedger
from farlane.ledger.typed_data import Domain
from farlane.testing.job_suite import START, JobSuite, JobWorld
from farlane.testing.ledger_suite import LedgerSuite, LedgerWorld


@pytest.fixture
async def world() -> LedgerWorld:
    payer, provider, session = (PrivateKey.generate() for _ in range(3))
    ledger = MemoryLedger(Domain(31337, NO_ADDRESS, "ab" * 16), close_window_s=3600)
    await ledger.mint(payer, payer.address, 1_000_000)

    async def pass_time(seconds: int) -> None:
        ledger.pass_time(seconds)

    return LedgerWorld(ledger, payer, provider, session, pass_time, 3600)


class TestMemoryLedger(LedgerSuite):
    pass


@pytest.fixture
async def jobs() -> JobWorld:
    payer, provider, arbiter = (PrivateKey.generate() for _ in range(3))
    ledger = MemoryJobLedger(Domain(31337, NO_ADDRESS, "ab" * 16))
    for key in (payer, provider):
        await ledger.mint(key, key.address, START)
        await ledger.deposit(key, START)

    async def pass_time(seconds: int) -> None:
        ledger.pass_time(seconds)

    return JobWorld(ledger, payer, provider, arbiter, pass_time)


class TestMemoryJobs(JobSuite):
    pass
