"""One sequence of calls on the ledger in memory and on a real chain: every book, event and refusal is the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass, field

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from farlane.errors import Reverted
from farlane.ledger.accounts import NO_ADDRESS, PrivateKey
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.jobs import JobLedger, Terms, sign_acceptance, sign_terms
from farlane.ledger.memory_jobs import MemoryJobLedger
from farlane.ledger.port import SignedClaim, TransactionReceipt
from farlane.ledger.rpc import RpcClient
from farlane.ledger.vouchers import Channel, Voucher, sign_voucher

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
"""The first account of every development chain of the Foundry kind, public on purpose."""
WINDOW_S = 50
TOKENS = 5_000
Step = tuple[str, int, int, int]
Call = Callable[[JobLedger], Awaitable[TransactionReceipt]]

CHANNEL_STEPS = ("deposit", "withdraw", "open", "topUp", "settle", "settle", "batch", "startClose", "finishClose",
                 "closeByProvider")  # fmt: skip
JOB_STEPS = ("openJob", "openJob", "submitResult", "submitResult", "acceptResult", "finalize", "reclaim", "dispute",
             "dispute", "resolve", "arbiterSilent")  # fmt: skip
steps = st.lists(
    st.tuples(
        st.sampled_from(CHANNEL_STEPS + JOB_STEPS),
        st.integers(0, 7),
        st.one_of(st.sampled_from((0, 1, 100)), st.integers(0, 1500)),
        st.sampled_from((0, 0, 1, 5, 30, 60)),
    ),
    min_size=25,
    max_size=40,
)
"""(what, who and which, how much, seconds that pass before)."""

SCRIPT: list[Step] = [
    ("deposit", 0, 100, 0), ("withdraw", 0, 100, 0), ("open", 4, 200, 0), ("topUp", 0, 100, 0), ("settle", 0, 50, 0),
    ("batch", 0, 100, 0), ("settle", 0, 100, 0), ("settle", 0, 103, 0), ("settle", 0, 1500, 0),
    ("startClose", 0, 0, 1), ("finishClose", 0, 0, 0), ("settle", 0, 200, 5), ("finishClose", 0, 0, 60),
    ("settle", 0, 300, 0), ("closeByProvider", 3, 0, 0), ("settle", 3, 300, 0),
    ("openJob", 0, 101, 0), ("acceptResult", 0, 100, 0), ("acceptResult", 0, 100, 0),
    ("openJob", 0, 102, 0), ("submitResult", 0, 100, 0), ("finalize", 0, 0, 5), ("finalize", 0, 0, 30),
    ("openJob", 0, 103, 0), ("reclaim", 0, 0, 60), ("openJob", 0, 105, 0),
    ("openJob", 0, 106, 0), ("submitResult", 0, 100, 0), ("dispute", 0, 100, 0), ("resolve", 0, 1500, 0),
    ("resolve", 0, 50, 0), ("dispute", 0, 0, 0),
    ("openJob", 0, 111, 0), ("submitResult", 0, 100, 0), ("dispute", 0, 100, 0), ("arbiterSilent", 0, 0, 30),
]  # fmt: skip
"""Succeeds in every step there is, with refusals between: the random sequences need luck for that."""


@dataclass
class Pair:
    """The two ledgers, the same accounts on both, and what was done so far."""

    chain: EthereumLedger
    model: MemoryJobLedger
    rpc: RpcClient
    accounts: list[PrivateKey]
    session: PrivateKey
    start: int
    trades: int
    terms: list[Terms] = field(default_factory=list)

    def channel(self, which: int) -> Channel:
        payer, provider = self.accounts[which & 1], self.accounts[1 + (which >> 1 & 1)]
        return Channel(
            payer.address, provider.address, self.session.address, (which >> 2).to_bytes(32, "big")
        )

    def claim(self, which: int, cumulative: int) -> SignedClaim:
        # One in eight is signed by the payer, who is not the signer.
        key = self.accounts[0] if cumulative % 8 == 7 else self.session
        voucher = Voucher(self.channel(which).id, cumulative, 10 * cumulative, bytes(range(32)))
        return SignedClaim(self.channel(which), sign_voucher(self.chain.domain, key, voucher))

    def key_of(self, address: str) -> PrivateKey:
        return next(key for key in self.accounts if key.address == address)

    async def pass_time(self, seconds: int) -> None:
        """Set both clocks to one time; the chain's next blocks keep it."""
        now = int(await self.chain.now()) + seconds
        if seconds:
            await self.rpc.call("evm_setNextBlockTimestamp", now)
            await self.rpc.call("evm_mine")
        assert await self.chain.now() == now
        self.model.pass_time(now - int(await self.model.now()))


TALLY: Counter[str] = Counter()
"""What succeeded, and what was refused, in all sequences together."""


@pytest.fixture(scope="module")
def deployment(anvil_url: str) -> Deployment:
    async def make() -> Deployment:
        rpc = RpcClient(anvil_url)
        try:
            return await deploy(
                rpc, FAUCET, DeploymentPlan("ab" * 16, FAUCET.address, close_window_s=WINDOW_S)
            )
        finally:
            await rpc.close()

    return asyncio.run(make())


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
@example(SCRIPT)
def test_memory_and_chain_never_differ(anvil_url: str, deployment: Deployment, taken: list[Step]) -> None:
    asyncio.run(replay(anvil_url, deployment, taken))


@pytest.mark.usefixtures("anvil_url")
def test_the_sequences_did_what_they_are_for() -> None:
    reached = {name for name in TALLY if ":" not in name}
    assert {*CHANNEL_STEPS, *JOB_STEPS} <= reached, f"never succeeded in any sequence; reached {TALLY}"
    refusals = {name.split(":")[1] for name in TALLY if ":" in name}
    assert {"NothingToClaim", "InvalidSignature", "WrongJobState", "ChannelNotOpen"} <= refusals


async def replay(url: str, deployment: Deployment, taken: list[Step]) -> None:
    rpc = RpcClient(url)
    await rpc.call("anvil_setBlockTimestampInterval", 0)
    try:
        pair = await arranged(rpc, deployment)
        for step in taken:
            await pair.pass_time(step[3])
            await compare(pair, step)
        ours, theirs = await pair.model.events(), await pair.chain.events(pair.start)
        assert [told(event) for event in theirs] == [told(event) for event in ours]
    finally:
        await rpc.call("anvil_removeBlockTimestampInterval")
        await rpc.close()


async def arranged(rpc: RpcClient, deployment: Deployment) -> Pair:
    chain = EthereumLedger(rpc, deployment)
    accounts = [PrivateKey.generate() for _ in range(4)]
    model = MemoryJobLedger(deployment.domain, close_window_s=WINDOW_S, now=int(await chain.now()))
    for key in accounts:
        await chain.pay_gas(FAUCET, key.address, 10**18)
        for ledger in (chain, model):
            await ledger.mint(FAUCET, key.address, TOKENS)
    start = await rpc.quantity("eth_blockNumber") + 1
    pair = Pair(chain, model, rpc, accounts, PrivateKey.generate(), start, await chain.transaction_count())
    for key in accounts[:3]:
        for ledger in (chain, model):
            await ledger.deposit(key, TOKENS // 2)
    for which in (0, 3):
        for ledger in (chain, model):
            await ledger.open_channel(accounts[which & 1], pair.channel(which), 500)
    return pair


async def compare(pair: Pair, step: Step) -> None:
    call = call_of(pair, step)
    theirs, ours = await outcome(call(pair.chain)), await outcome(call(pair.model))
    assert theirs == ours, step
    TALLY[step[0] if theirs == "done" else f"{step[0]}:{theirs}"] += 1
    for key in pair.accounts:
        for read in ("balance", "token_balance", "settlements"):
            found = [await getattr(ledger, read)(key.address) for ledger in (pair.chain, pair.model)]
            assert found[0] == found[1], (step, read)
    for which in range(8):
        known = pair.channel(which).id
        assert await pair.chain.channel(known) == await pair.model.channel(known), step
    for terms in pair.terms:
        assert await pair.chain.job(terms.id) == await pair.model.job(terms.id), step
    trades = await pair.chain.transaction_count() - pair.trades
    assert trades == await pair.model.transaction_count(), step


async def outcome(work: Awaitable[TransactionReceipt]) -> str:
    try:
        await work
    except Reverted as error:
        return str(error.facts["error"])
    return "done"


def call_of(pair: Pair, step: Step) -> Call:
    name, which, amount, _ = step
    return job_call(pair, step) if name in JOB_STEPS else channel_call(pair, name, which, amount)


def channel_call(pair: Pair, name: str, which: int, amount: int) -> Call:
    who, channel = pair.accounts[which & 1], pair.channel(which)
    provider = pair.accounts[1 + (which >> 1 & 1)]
    batch = [pair.claim(which, amount), pair.claim((which + 3) % 8, amount // 2)]
    to = NO_ADDRESS if amount % 16 == 15 else provider.address
    calls: dict[str, Call] = {
        "deposit": lambda ledger: ledger.deposit(who, amount),
        "withdraw": lambda ledger: ledger.withdraw(who, to, amount),
        "open": lambda ledger: ledger.open_channel(who, channel, amount),
        "topUp": lambda ledger: ledger.top_up(who, channel, amount),
        "settle": lambda ledger: ledger.settle(provider, [pair.claim(which, amount)]),
        "batch": lambda ledger: ledger.settle(provider, batch),
        "startClose": lambda ledger: ledger.start_close(who, channel),
        "finishClose": lambda ledger: ledger.finish_close(provider, channel),
        "closeByProvider": lambda ledger: ledger.close_by_provider(provider, channel),
    }
    return calls[name]


def job_call(pair: Pair, step: Step) -> Call:
    name, which, amount, _ = step
    if name == "openJob" or not pair.terms:
        return opening(pair, which, amount)
    terms = pair.terms[-1 - which % min(3, len(pair.terms))]
    payer, provider = pair.key_of(terms.payer), pair.key_of(terms.provider)
    stranger = pair.accounts[3]
    # One in eight is tried by a hand whose step it is not.
    odd = amount % 8 == 7
    acceptance = sign_acceptance(pair.chain.domain, payer, terms.id, terms.spec)
    calls: dict[str, Call] = {
        "submitResult": lambda ledger: ledger.submit_result(stranger if odd else provider, terms, terms.spec),
        "acceptResult": lambda ledger: ledger.accept_result(
            stranger if amount % 2 else payer, terms, bytes(32) if odd else terms.spec, acceptance
        ),
        "finalize": lambda ledger: ledger.finalize(stranger, terms),
        "reclaim": lambda ledger: ledger.reclaim(stranger, terms),
        "dispute": lambda ledger: ledger.dispute(stranger if odd else payer, terms),
        "resolve": lambda ledger: ledger.resolve(provider if odd else stranger, terms, amount),
        "arbiterSilent": lambda ledger: ledger.arbiter_silent(stranger, terms),
    }
    return calls[name]


def opening(pair: Pair, which: int, amount: int) -> Call:
    payer, provider = pair.accounts[which & 1], pair.accounts[2 if which & 2 else 1 - (which & 1)]
    salt = (len(pair.terms) if amount % 4 else 0).to_bytes(32, "big")
    deadline = int(pair.model._now) + 40
    terms = Terms(payer.address, provider.address, pair.accounts[3].address, amount, amount // 3, amount // 5,
                  deadline, 20 + which, 20, bytes([which + 1] * 32), salt)  # fmt: skip
    signature = sign_terms(pair.chain.domain, payer if amount % 16 == 9 else provider, terms)
    pair.terms.append(terms)
    return lambda ledger: ledger.open_job(payer, terms, signature)


def told(event: object) -> tuple[object, ...]:
    """Return an event without its place: blocks of the two are numbered differently."""
    return (type(event).__name__, *astuple(event)[3:])  # type: ignore[call-overload]  # every event is a dataclass
