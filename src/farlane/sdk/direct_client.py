"""The asyncio client of direct calls: one network on chain, one payer, and a channel to each node that is called."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from farlane.domain.prices import ceil_div
from farlane.domain.units import CREDIT
from farlane.errors import InvalidInput
from farlane.ledger.accounts import Address, PrivateKey, parse_address
from farlane.ledger.vouchers import units_floor
from farlane.sdk.context import data_directory
from farlane.sdk.direct_task import DirectRun, DirectTask, Trust, trust_nobody

if TYPE_CHECKING:
    from farlane.ledger.deploy import Deployment
    from farlane.ledger.rpc import RpcClient
    from farlane.sdk.direct import DirectPublisher, OnOutput
    from farlane.sdk.direct_nodes import FoundNode

MAX_NETWORK_FILE_BYTES = 64 * 1024


class AsyncDirectClient:
    """Calls nodes without any hub; open inside `async with`.

    Args:
        network_file: the network file, as `farlane network deploy` wrote it.
        rpc: JSON-RPC endpoint of its chain.
        payer: pays for tasks and for the gas of its channels.
        directory: where channels are kept, `~/.farlane/channels` by default. Losing it loses the means to check what
            nodes say, not the deposits.
        trust: of which nodes values may be unpickled here; of none by default.
        deposit_nano: what to put into a channel that is new or too small, in nano-credits; at least what the task
            needs.
        min_bond_nano: what a node's operator must have bonded in the registry, in nano-credits.
    """

    def __init__(
        self,
        network_file: Path,
        rpc: str,
        payer: PrivateKey,
        *,
        directory: Path | None = None,
        trust: Trust = trust_nobody,
        deposit_nano: int = 0,
        min_bond_nano: int = 0,
    ) -> None:
        self._network_file, self._url, self._payer = network_file, rpc, payer
        self._directory = directory or data_directory() / "channels"
        self._trust, self._deposit_nano, self._min_bond_nano = trust, deposit_nano, min_bond_nano
        self._rpc: RpcClient | None = None
        self._deployment: Deployment | None = None
        self._found: dict[Address, FoundNode] = {}

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            InvalidInput: the file is no network file.
            Conflict: another chain or another contract.
            ChainUnavailable: the endpoint does not answer.
        """
        from farlane.ledger.deploy import deployment_from_json, verify_deployment
        from farlane.ledger.network_registry import NetworkRegistry
        from farlane.ledger.rpc import RpcClient

        raw = await asyncio.to_thread(self._network_file.read_bytes)
        if len(raw) > MAX_NETWORK_FILE_BYTES:
            raise InvalidInput(f"{self._network_file} is too long for a network file: name another")
        deployment, rpc = deployment_from_json(raw), RpcClient(self._url)
        try:
            await verify_deployment(rpc, deployment)
            await NetworkRegistry(rpc, deployment).check()
        except BaseException:
            await rpc.close()
            raise
        self._rpc, self._deployment = rpc, deployment
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._rpc is not None:
            await self._rpc.close()

    async def nodes(self) -> list[FoundNode]:
        """Return the nodes with enough bonded that answer under the TLS key they have on chain, and what they ask."""
        from farlane.sdk.direct_nodes import find_nodes

        rpc, deployment = self._chain()
        least = ceil_div(self._min_bond_nano * deployment.units_per_credit, CREDIT)
        found, _ = await find_nodes(rpc, deployment, least)
        self._found = {one.entry.key: one for one in found}
        return found

    async def publisher(self, task: DirectTask, node: str | None = None) -> DirectPublisher:
        """Return what pays the cheapest node that a task fits on, or the node of one key.

        Raises:
            NotFound: no such node answers, or the task fits on none.
        """
        from farlane.ledger.ethereum import EthereumLedger
        from farlane.sdk.direct import DirectPublisher
        from farlane.sdk.direct_nodes import by_key, cheapest

        known = list(self._found.values()) or await self.nodes()
        if node is None:
            wanted = cheapest(known, task.spec)
        else:
            key = parse_address(node)
            wanted = by_key(known if key in self._found else await self.nodes(), key)
        rpc, deployment = self._chain()
        return DirectPublisher(self._directory, EthereumLedger(rpc, deployment), self._payer, wanted)

    async def run(
        self,
        task: DirectTask,
        *,
        node: str | None = None,
        max_nano: int | None = None,
        on_output: OnOutput | None = None,
    ) -> DirectRun:
        """Have one task run and pay for it; see `farlane.sdk.direct.DirectPublisher.run` for what it raises."""
        publisher = await self.publisher(task, node)
        deposit = self._deposit_units(self._deposit_nano)
        found = await publisher.run(task, max_nano=max_nano, deposit_units=deposit, on_output=on_output)
        return replace(found, trust=self._trust)

    async def run_all(
        self, tasks: Sequence[DirectTask], *, node: str | None = None, max_nano: int | None = None
    ) -> list[DirectRun]:
        """Have tasks run on one node, as many at once as it allows; returns what came of them, in their order.

        Args:
            tasks: what to run; the node is chosen for the first.
            node: its key, the cheapest node that fits where None.
            max_nano: the most each may cost.

        Raises:
            FarlaneError: of the first that failed so, once all have ended; what the others did is paid all the same.
        """
        if not tasks:
            return []
        publisher = await self.publisher(tasks[0], node)
        # At once for all, so that not every task waits for a transaction of its own.
        all_nano = max(self._deposit_nano, sum(publisher.quote_ceiling(task) for task in tasks))
        spending = await publisher.spending(tasks[0], self._deposit_units(all_nano))
        found = await asyncio.gather(
            *(publisher.run(task, max_nano=max_nano, deposit_units=spending.deposit_units) for task in tasks),
            return_exceptions=True,
        )
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return [replace(one, trust=self._trust) for one in found if isinstance(one, DirectRun)]

    def _deposit_units(self, nano: int) -> int:
        _, deployment = self._chain()
        return units_floor(nano, deployment.units_per_credit)

    def _chain(self) -> tuple[RpcClient, Deployment]:
        if self._rpc is None or self._deployment is None:
            raise InvalidInput("the client is not open: use it inside `async with`")
        return self._rpc, self._deployment
