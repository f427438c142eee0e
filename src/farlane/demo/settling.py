"""The demo's books: everything is settled on the chain, a receipt taken at random is verified, the network audited."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from random import Random

from farlane.app.layout import Layout
from farlane.demo.own_loop import run_apart
from farlane.domain.ids import JobId, TaskId, task_id, task_text
from farlane.domain.jobs import TaskState
from farlane.domain.units import credits_text
from farlane.errors import Internal
from farlane.ledger.audit.audit import audit
from farlane.ledger.audit.chain_view import read_chain
from farlane.ledger.deploy import deployment_from_json
from farlane.ledger.receipt import Receipt, verify
from farlane.ledger.receipt_chain import verify_on_chain
from farlane.ledger.record_file import read_record
from farlane.ledger.rpc import RpcClient
from farlane.sdk.client import AsyncClient
from farlane.sdk.context import Endpoint
from farlane.sdk.ledger import LedgerClient
from farlane.sdk.record import RecordClient
from farlane.wire.ledger import ChannelRow

SIGNED_S = 30.0
POLL_S = 0.25


def settle_and_audit(directory: Path, endpoint: Endpoint, dead: frozenset[str], random: Random) -> None:
    """Settle, verify one receipt, audit, and print what each node earned.

    Args:
        directory: the network's.
        endpoint: its hub.
        dead: nodes that can sign nothing more.
        random: picks the receipt.

    Raises:
        Internal: a receipt proves nothing, or the audit finds something.
    """
    run_apart(_settle_and_audit(directory, endpoint, dead, random))


async def _settle_and_audit(
    directory: Path, endpoint: Endpoint, dead: frozenset[str], random: Random
) -> None:
    async with AsyncClient(endpoint.url, endpoint.token) as client:
        ledger = LedgerClient(client.connection)
        await _all_signed(ledger, dead)
        transactions = await ledger.settle()
        status = await ledger.status()
        if not transactions and not status.claimed:
            raise Internal(f"nothing was settled: {status.problem or 'no voucher was signed'}")
        print(f"\n  settled on {status.place}, chain {status.chain_id}, contract {status.contract}")
        for transaction in transactions:
            print(f"    transaction {transaction}")
        async with RpcClient(status.rpc) as rpc:
            await _verify_one(client, rpc, random)
            await _audit(client, rpc, directory)
        _earnings(await ledger.channels())


async def _all_signed(ledger: LedgerClient, dead: frozenset[str]) -> None:
    """Wait until every living node has signed for all of its work."""
    for _ in range(int(SIGNED_S / POLL_S)):
        rows = [row for row in await ledger.channels() if row.node_name not in dead]
        if rows and all(row.promised_tasks == row.tasks for row in rows):
            return
        await asyncio.sleep(POLL_S)
    raise Internal(
        f"the nodes have not signed for their work within {SIGNED_S:g} s; see the logs of the demo"
    )


async def _verify_one(client: AsyncClient, rpc: RpcClient, random: Random) -> None:
    receipt = await _random_receipt(client, random)
    task = task_text(TaskId(receipt.leaf.task))
    findings = [*verify(receipt), *await verify_on_chain(rpc, receipt)]
    failed = [finding for finding in findings if not finding.ok]
    if failed:
        raise Internal(f"the receipt of {task} fails: {failed[0].check}: {failed[0].message}")
    print(
        f"  receipt of {task}, leaf {receipt.index} of {receipt.head.head.size}, {len(receipt.proof)} hashes of proof: "
        f"{credits_text(receipt.leaf.amount_nano)} credits, all {len(findings)} checks hold"
    )


async def _random_receipt(client: AsyncClient, random: Random) -> Receipt:
    """Return the receipt of a task that is done; the last words of a node that died may lack a signature."""
    jobs = [job.job for job in await client.jobs(all=True)]
    record = RecordClient(client.connection)
    done = [task for job in jobs for task in await _done(client, job)]
    for task in random.sample(done, len(done)):
        found, _ = await record.receipts(task)
        if found:
            return found[-1]
    raise Internal("no task has a receipt")


async def _done(client: AsyncClient, job: JobId) -> list[TaskId]:
    return [
        task_id(job, index)
        for batch in await client.tasks(job, limit=10_000)
        for index, state in zip(batch.indices, batch.states, strict=True)
        if state == TaskState.DONE
    ]


async def _audit(client: AsyncClient, rpc: RpcClient, directory: Path) -> None:
    """Replay the public record and hold it against the chain, as a third party would."""
    deployment = deployment_from_json((Layout(directory).hub / "ledger.json").read_bytes())
    chain = await read_chain(rpc, deployment)
    with tempfile.TemporaryDirectory(prefix="farlane-demo-") as scratch:
        file = Path(scratch) / "record.gz"
        await RecordClient(client.connection).export(file)
        found = audit(read_record(file), chain, now_s=time.time())
    totals = found.totals
    if not found.clean:
        raise Internal(f"the audit finds {found.deviating} deviations, the first: {found.deviations[0]}")
    print(
        f"  audit: {totals.leaves} leaves of {totals.books} books replayed, every balance recomputed, nothing "
        f"deviates; {totals.unsigned_leaves} leaves of a dead node await a signature"
    )


def _earnings(rows: list[ChannelRow]) -> None:
    print(f"\n  {'node':8} {'leaves':>6} {'signed':>6} {'owed':>10} {'paid':>10}  account")
    for row in rows:
        print(
            f"  {row.node_name:8} {row.tasks:6} {row.promised_tasks:6} {row.owed / 1e9:10.6f} {row.claimed / 1e9:10.6f}"
            f"  {row.provider}"
        )
