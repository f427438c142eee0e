"""The synchronous client of direct calls: a thin façade over the asyncio one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from farlane.ledger.accounts import PrivateKey
from farlane.sdk import options as forms
from farlane.sdk.direct_client import AsyncDirectClient
from farlane.sdk.direct_task import (
    DEFAULT_TIMEOUT_S,
    DirectRun,
    Trust,
    command_task,
    function_task,
    trust_nobody,
)
from farlane.sdk.portal import Portal, portal

if TYPE_CHECKING:
    from farlane.sdk.direct_nodes import FoundNode


class DirectClient:
    """Calls nodes of a network on chain without any hub, and pays them; close it, or use it in a `with` block.

    Args:
        network_file: the network file, as `farlane network deploy` wrote it.
        rpc: JSON-RPC endpoint of its chain.
        key: your key: its name in your key ring (`farlane key ls`), or the key itself.
        password_file: holds the key's password; else it is found or asked for as by commands.
        directory: where channels are kept, `~/.farlane/channels` by default.
        trust: a function of a node's key that says whether values from it may be unpickled in this process, which runs
            whatever the pickle says; no node is trusted by default.
        deposit: credits to put into a channel that is new or too small; at least what the task needs.
        min_bond: credits that a node's operator must have bonded in the registry.

    Raises:
        NotFound: no such key.
        Conflict: another chain or another contract than the file names.
        ChainUnavailable: the endpoint does not answer.
    """

    def __init__(
        self,
        network_file: str | Path,
        rpc: str,
        key: str | PrivateKey,
        *,
        password_file: Path | None = None,
        directory: Path | None = None,
        trust: Trust = trust_nobody,
        deposit: str | float = 0,
        min_bond: str | float = 0,
    ) -> None:
        payer = key if isinstance(key, PrivateKey) else _opened(key, password_file)
        self.portal: Portal = portal()
        self.aio = AsyncDirectClient(
            Path(network_file), rpc, payer, directory=directory, trust=trust,
            deposit_nano=forms.read_credits("deposit", deposit),
            min_bond_nano=forms.read_credits("min_bond", min_bond),
        )  # fmt: skip
        """The asyncio client, which lives on the portal's loop."""
        self.portal.run(self.aio.__aenter__())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; channels stay open for the next time."""
        self.portal.run(self.aio.__aexit__(None, None, None))

    def nodes(self) -> list[FoundNode]:
        """Return the nodes that answer under the TLS key they have on chain, and what they ask."""
        return self.portal.run(self.aio.nodes())

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        node: str | None = None,
        max_price: str | float | None = None,
    ) -> DirectRun:
        """Call a function on a node; `.result()` of what comes back unpickles its value, if the node is trusted.

        Args:
            function: any function; what `App.function` has decorated brings its cores, memory, GPUs and time-out.
            args: its arguments.
            kwargs: its keyword arguments.
            node: the key of the node, the cheapest that fits where None.
            max_price: the most credits it may cost.

        Raises:
            InvalidJob: the function or an argument cannot be sent to another machine.
            FarlaneError: see `farlane.sdk.direct.DirectPublisher.run`.
        """
        task = function_task(function, args, kwargs)
        return self.portal.run(self.aio.run(task, node=node, max_nano=_nano(max_price)))

    def map(
        self,
        function: Callable[..., Any],
        inputs: Iterable[Any],
        *,
        node: str | None = None,
        max_price: str | float | None = None,
    ) -> list[DirectRun]:
        """Call a function once for each input on one node, as many at once as it allows; results in their order.

        Args:
            function: as of `call`.
            inputs: the one argument of each call.
            node: the key of the node, the cheapest that fits where None.
            max_price: the most credits each call may cost.
        """
        tasks = [function_task(function, (one,)) for one in inputs]
        return self.portal.run(self.aio.run_all(tasks, node=node, max_nano=_nano(max_price)))

    def run(
        self,
        command: str,
        *,
        cpu: str | float | None = None,
        memory: str | int | None = None,
        gpu: str | int | None = None,
        disk: str | int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        inputs: Mapping[str, bytes] | None = None,
        outputs: tuple[str, ...] = (),
        node: str | None = None,
        max_price: str | float | None = None,
    ) -> DirectRun:
        """Run a command on a node.

        Args:
            command: what the shell runs.
            cpu: cores to reserve.
            memory: memory to reserve, such as `1GB`.
            gpu: GPUs to reserve, such as `A100:1`.
            disk: scratch space to reserve.
            timeout_s: after which it is killed; with the rest it makes the price.
            inputs: path -> content of the files it finds.
            outputs: paths or globs of the files to bring back.
            node: the key of the node, the cheapest that fits where None.
            max_price: the most credits it may cost.
        """
        resources = forms.read_resources(cpu, memory, gpu, disk)
        task = command_task(command, resources=resources, timeout_s=timeout_s, inputs=inputs, outputs=outputs)
        return self.portal.run(self.aio.run(task, node=node, max_nano=_nano(max_price)))


def _nano(price: str | float | None) -> int | None:
    return None if price is None else forms.read_credits("max_price", price)


def _opened(name: str, password_file: Path | None) -> PrivateKey:
    from farlane.ledger.keystore import KeyRing, keys_directory
    from farlane.ledger.passwords import find_password, prompt_password

    ring = KeyRing(keys_directory())
    ring.find(name)
    return ring.open(name, find_password(password_file) or prompt_password(f"key {name}"))
