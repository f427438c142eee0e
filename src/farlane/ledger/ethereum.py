"""The ledger on an Ethereum chain, over JSON-RPC: the embedded one, anvil, or any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farlane.errors import InvalidInput, NotFound, RpcRefused
from farlane.ledger import abi
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.deploy import Deployment
from farlane.ledger.events import event_of
from farlane.ledger.jobs import JobState, JobStatus, Terms
from farlane.ledger.port import MAX_CLAIMS, ChannelState, LedgerEvent, SignedClaim, TransactionReceipt
from farlane.ledger.rpc import RpcClient
from farlane.ledger.sending import Sender
from farlane.ledger.token_signatures import (
    Authorization,
    Permit,
    fresh_nonce,
    permit_nonce,
    sign_authorization,
    sign_permit,
    token_separator,
    valid_until,
)
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel

LOG_BLOCKS = 10_000
"""Blocks asked for at once; an endpoint that refuses is asked for half."""
_UNLIMITED = 2**256 - 1


class EthereumLedger:
    """The Ledger port and its jobs (JobLedger) over JSON-RPC.

    Args:
        rpc: the chain; `deploy.verify_deployment` has checked that it is the right one.
        deployment: where the contracts are.
        confirmations: blocks on top of a transaction before it counts; 0 on an embedded chain.
        sender: sends; one without a file and with the default cap on gas where none is given.
    """

    def __init__(
        self, rpc: RpcClient, deployment: Deployment, confirmations: int = 0, sender: Sender | None = None
    ) -> None:
        self._rpc, self._deployment = rpc, deployment
        self._sender = sender or Sender(rpc, deployment.chain_id, confirmations)
        self._domain = deployment.domain

    @property
    def rpc(self) -> RpcClient:
        """The chain."""
        return self._rpc

    @property
    def deployment(self) -> Deployment:
        """Where the contracts are."""
        return self._deployment

    @property
    def domain(self) -> Domain:
        """Where signatures count."""
        return self._domain

    @property
    def units_per_credit(self) -> int:
        """Units of the token that make one credit."""
        return self._deployment.units_per_credit

    async def now(self) -> float:
        """Return the time of the chain's head, unix seconds."""
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        return float(int(block["timestamp"], 16))

    async def block_time(self, number: int) -> float:
        """Return a block's time, unix seconds.

        Raises:
            NotFound: the chain has no such block.
        """
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), False)
        if block is None:
            raise NotFound(f"{self._rpc.place} has no block {number}", block=number)
        return float(int(block["timestamp"], 16))

    async def token_balance(self, account: Address) -> int:
        """Return what an account has outside of the contract."""
        return int(await self._rpc.read("CreditToken", self._deployment.token, "balanceOf", (account,)))

    async def coin(self, account: Address) -> int:
        """Return what an account has for gas, in wei."""
        return await self._rpc.quantity("eth_getBalance", account, "latest")

    async def balance(self, account: Address) -> int:
        """Return an account's free balance in the contract."""
        return int(await self._read("balanceOf", account))

    async def channel(self, channel: bytes) -> ChannelState:
        """Return a channel by its id."""
        return ChannelState(*await self._read("channels", channel))

    async def transaction_count(self) -> int:
        """Return how many trades are on record."""
        return int(await self._read("transactionCount"))

    async def events(self, first_block: int = 0, last_block: int | None = None) -> list[LedgerEvent]:
        """Return the contract's events of these blocks; ranges an endpoint finds too large are halved."""
        first = max(first_block, self._deployment.first_block)
        last = await self._rpc.quantity("eth_blockNumber") if last_block is None else last_block
        found: list[LedgerEvent] = []
        step = LOG_BLOCKS
        while first <= last:
            until = min(last, first + step - 1)
            try:
                logs = await self._logs(first, until)
            except RpcRefused:
                if step == 1:
                    raise
                step = max(1, step // 2)
                continue
            found += [event for log in logs if (event := event_of(log)) is not None]
            first = until + 1
        return found

    async def mint(self, key: PrivateKey, to: Address, amount: int) -> TransactionReceipt:
        """Make new credits, where the token is farlane's own and `key` its minter's."""
        data = abi.encode_call("CreditToken", "mint", (to, amount))
        return await self._sender.send(key, self._deployment.token, data)

    async def pay_gas(self, key: PrivateKey, to: Address, wei: int) -> TransactionReceipt:
        """Send native coin, so that another account can pay for its own transactions."""
        return await self._sender.send(key, to, b"", wei)

    async def deposit(
        self, key: PrivateKey, amount: int, beneficiary: Address | None = None
    ) -> TransactionReceipt:
        """Move tokens into the account's balance, or another's; the first time it approves the contract."""
        pair = (key.address, self._deployment.ledger)
        if await self._rpc.read("CreditToken", self._deployment.token, "allowance", pair) < amount:
            approval = abi.encode_call("CreditToken", "approve", (self._deployment.ledger, _UNLIMITED))
            await self._sender.send(key, self._deployment.token, approval)
        return await self._send(key, "deposit", beneficiary or key.address, amount)

    async def deposit_with_permit(
        self, key: PrivateKey, amount: int, beneficiary: Address | None = None
    ) -> TransactionReceipt:
        """As `deposit`, by the key's signature over this amount: nothing stays approved.

        Raises:
            InvalidInput: the token takes no permits (ERC-2612).
        """
        token, contract = self._deployment.token, self._deployment.ledger
        separator = await token_separator(self._rpc, token, self._deployment.chain_id)
        nonce = await permit_nonce(self._rpc, token, key.address)
        until = valid_until(await self.now())
        signed = sign_permit(separator, key, Permit(key.address, contract, amount, nonce, until))
        target = beneficiary or key.address
        return await self._send(key, "depositWithPermit", target, amount, until, *signed)

    async def deposit_for(self, key: PrivateKey, owner: PrivateKey, amount: int) -> TransactionReceipt:
        """Move tokens of `owner` into the balance of `owner`, by its signature; `key` pays the gas and nothing else.

        Raises:
            InvalidInput: the token takes no authorizations (ERC-3009).
        """
        token, contract = self._deployment.token, self._deployment.ledger
        separator = await token_separator(self._rpc, token, self._deployment.chain_id)
        until, nonce = valid_until(await self.now()), fresh_nonce()
        signed = sign_authorization(
            separator, owner, Authorization(owner.address, contract, amount, until, nonce)
        )
        return await self._send(
            key, "depositWithAuthorization", owner.address, amount, 0, until, nonce, *signed
        )

    async def withdraw(self, key: PrivateKey, to: Address, amount: int) -> TransactionReceipt:
        """Pay a part of an account's balance out."""
        return await self._send(key, "withdraw", to, amount)

    async def open_channel(self, key: PrivateKey, channel: Channel, amount: int) -> TransactionReceipt:
        """Open a channel of the payer `key`."""
        return await self._send(key, "open", channel.provider, channel.signer, channel.salt, amount)

    async def top_up(self, key: PrivateKey, channel: Channel, amount: int) -> TransactionReceipt:
        """Add to the deposit of a channel."""
        return await self._send(key, "topUp", channel.provider, channel.signer, channel.salt, amount)

    async def settle(self, key: PrivateKey, claims: Sequence[SignedClaim]) -> TransactionReceipt:
        """Settle vouchers, all or none.

        Raises:
            InvalidInput: none, or more than MAX_CLAIMS.
        """
        if not 0 < len(claims) <= MAX_CLAIMS:
            raise InvalidInput(
                f"{len(claims)} vouchers cannot be settled at once; expected 1 to {MAX_CLAIMS}"
            )
        if len(claims) == 1:
            return await self._send(key, "settle", claim_tuple(claims[0]))
        # Claims of one provider stand together: they share one write of its balance.
        ordered = sorted(claims, key=lambda claim: claim.channel.provider)
        return await self._send(key, "settleMany", [claim_tuple(claim) for claim in ordered])

    async def start_close(self, key: PrivateKey, channel: Channel) -> TransactionReceipt:
        """Announce that the payer closes a channel."""
        return await self._send(key, "startClose", channel.provider, channel.signer, channel.salt)

    async def finish_close(self, key: PrivateKey, channel: Channel) -> TransactionReceipt:
        """Close a channel whose window has passed."""
        return await self._send(
            key, "finishClose", channel.payer, channel.provider, channel.signer, channel.salt
        )

    async def close_by_provider(self, key: PrivateKey, channel: Channel) -> TransactionReceipt:
        """Close a channel of the provider at once."""
        return await self._send(key, "closeByProvider", channel.payer, channel.signer, channel.salt)

    async def settlements(self, account: Address) -> int:
        """Return how often an account was paid for work."""
        return int(await self._read("settlementsOf", account))

    async def job(self, job: bytes) -> JobStatus:
        """Return a job by its id."""
        state, since = await self._read("jobs", job)
        return JobStatus(JobState(state), since)

    async def open_job(self, key: PrivateKey, terms: Terms, provider_signature: bytes) -> TransactionReceipt:
        """Open a job as the payer `key`."""
        return await self._send(key, "openJob", terms.values, provider_signature)

    async def submit_result(self, key: PrivateKey, terms: Terms, result: bytes) -> TransactionReceipt:
        """Commit to a result as the provider `key`."""
        return await self._send(key, "submitResult", terms.values, result)

    async def accept_result(
        self, key: PrivateKey, terms: Terms, result: bytes, payer_signature: bytes = b""
    ) -> TransactionReceipt:
        """Accept a result as the payer, or with the payer's signature."""
        return await self._send(key, "acceptResult", terms.values, result, payer_signature)

    async def finalize(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """Pay the provider after the window."""
        return await self._send(key, "finalize", terms.values)

    async def reclaim(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """Pay the payer after a missed deadline."""
        return await self._send(key, "reclaim", terms.values)

    async def dispute(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """Dispute a result as the payer `key`."""
        return await self._send(key, "dispute", terms.values)

    async def resolve(self, key: PrivateKey, terms: Terms, to_provider: int) -> TransactionReceipt:
        """Award the provider a part of the price as the arbiter `key`."""
        return await self._send(key, "resolve", terms.values, to_provider)

    async def arbiter_silent(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """End a dispute no arbiter resolved in time."""
        return await self._send(key, "arbiterSilent", terms.values)

    async def _read(self, name: str, *arguments: Any) -> Any:
        return await self._rpc.read("ComputeLedger", self._deployment.ledger, name, arguments)

    async def _send(self, key: PrivateKey, name: str, *arguments: Any) -> TransactionReceipt:
        data = abi.encode_call("ComputeLedger", name, arguments)
        return await self._sender.send(key, self._deployment.ledger, data)

    async def _logs(self, first: int, last: int) -> list[dict[str, Any]]:
        span = {"address": self._deployment.ledger, "fromBlock": hex(first), "toBlock": hex(last)}
        logs: list[dict[str, Any]] = await self._rpc.call("eth_getLogs", span)
        return logs


def claim_tuple(claim: SignedClaim) -> tuple[Any, ...]:
    """Return a claim as the contract takes it."""
    channel, voucher = claim.channel, claim.signed.voucher
    return (
        channel.payer, channel.provider, channel.signer, channel.salt, voucher.cumulative, voucher.tasks,
        voucher.root, claim.signed.signature,
    )  # fmt: skip
