"""The embedded chain as its owner has it: opened, funded, asked, and closed; all work in one thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from farlane.errors import Conflict, DiskFull
from farlane.kit.clock import Clock
from farlane.kit.file_lock import FileLock
from farlane.kit.files import Ballast, disk_full_as_error
from farlane.kit.recursion import recursion_limit_kept
from farlane.ledger.accounts import Address, address_bytes
from farlane.ledger.embedded.chain import Chain, create_chain
from farlane.ledger.embedded.chain_file import ChainFile
from farlane.ledger.embedded.documents import answer
from farlane.ledger.embedded.evm import Evm
from farlane.ledger.embedded.rare_curves import defer_curves

BALLAST_BYTES = 256 << 10
"""Disk space kept back, so that a chain on a full disk can still be opened and read."""

_T = TypeVar("_T")


@cache
def load_py_evm() -> Evm:
    """Import py-evm, which takes a quarter of a second, and return the EVM of it."""
    defer_curves()
    with recursion_limit_kept():
        from farlane.ledger.embedded.py_evm import PyEvm
    return PyEvm()


class EmbeddedChain:
    """An Ethereum chain of one machine in one file; use `open`.

    A transaction is sealed at once in a block of its own, and on disk before its hash is known. The chain is its
    owner's: whoever has the file can write whatever it likes into it, so it proves nothing to anybody else.
    """

    def __init__(self, lock: FileLock, file: ChainFile, chain: Chain, testing: bool) -> None:
        self._lock, self._file, self._chain, self._testing = lock, file, chain, testing
        self._worker: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "farlane-chain")
        self._worker.submit(chain.evm)  # the import, while its owner does something else

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        chain_id: int,
        genesis: Mapping[Address, int],
        clock: Clock,
        testing: bool = False,
        evm: Callable[[], Evm] = load_py_evm,
        max_bytes: int | None = None,
    ) -> EmbeddedChain:
        """Open a chain, or make it where there is none.

        Args:
            path: the file; its directory must exist. Beside it stand `-wal` while it is
                open, `.lock` and `.ballast`.
            chain_id: of the chain; choose it at random for each network.
            genesis: wei of the first accounts, where it is made.
            clock: the time of blocks.
            testing: also take `evm_increaseTime` and `evm_mine`.
            evm: returns what executes; called in the chain's thread.
            max_bytes: the file does not grow beyond this; None: as far as the disk goes.

        Raises:
            Conflict: another process uses it, a newer farlane wrote it, or it has another chain id.
            Corrupted: the file is damaged.
            InvalidInput: the file is no chain.
            DiskFull: there is no room for a new one.
        """
        ballast = Ballast(path.with_name(f"{path.name}.ballast"), BALLAST_BYTES)
        try:
            lock, file = _opened(path, chain_id, genesis, clock, max_bytes)
        except DiskFull:
            if not ballast.release():
                raise
            lock, file = _opened(path, chain_id, genesis, clock, max_bytes)
        with contextlib.suppress(
            DiskFull
        ):  # what is there can be read; what does not fit is refused one by one
            ballast.reserve()
        return cls(lock, file, Chain(file, evm, clock), testing)

    @property
    def chain_id(self) -> int:
        """Its id."""
        return self._file.chain_id

    @property
    def height(self) -> int:
        """The number of the newest block."""
        return self._file.head.number

    def transport(self) -> EmbeddedTransport:
        """Return how an `RpcClient` reaches it without a socket; closing that leaves the chain open."""
        return EmbeddedTransport(self)

    async def faucet(self, to: Address, wei: int) -> int:
        """Make coin for an account's gas and return the block; nothing that speaks JSON-RPC can.

        Raises:
            InvalidInput: not a positive multiple of 10**9 wei.
            DiskFull: no room; nothing has happened.
        """
        return await self._do(lambda: self._chain.credit(address_bytes(to), wei))

    async def answer(self, document: Any, *, raise_faults: bool = False) -> Any:
        """Return the answer to a JSON-RPC document, None where nothing in it wants one.

        Args:
            document: parsed JSON.
            raise_faults: raise DiskFull, Corrupted and Unavailable instead of answering with them.
        """
        return await self._do(
            lambda: answer(self._chain, document, testing=self._testing, raise_faults=raise_faults)
        )

    async def check_state(self) -> int:
        """Compare accounts, storage and code with the head's state root; returns the number of entries.

        Raises:
            Corrupted: somebody or something has changed them.
        """
        return await self._do(self._file.check_state)

    async def _do(self, work: Callable[[], _T]) -> _T:
        if self._worker is None:
            raise Conflict("the embedded chain is closed; open it again to use it")
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def close(self) -> None:
        """Finish what is queued, close the file and let others open it."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=True)
            self._file.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class EmbeddedTransport:
    """The Transport port of `farlane.ledger.rpc` to a chain in this process.

    Args:
        chain: asked.
    """

    place = "the embedded chain"

    def __init__(self, chain: EmbeddedChain) -> None:
        self._chain = chain

    async def post(self, document: Any) -> Any:
        """Return the answer.

        Raises:
            DiskFull: no room for a block; nothing has happened.
            Corrupted: the file is damaged.
            Unavailable: its disk failed.
        """
        return await self._chain.answer(document, raise_faults=True)

    async def close(self) -> None:
        """Do nothing: the chain is its owner's to close."""


def _opened(
    path: Path, chain_id: int, genesis: Mapping[Address, int], clock: Clock, max_bytes: int | None
) -> tuple[FileLock, ChainFile]:
    lock = _locked(path)
    try:
        if not path.exists():
            create_chain(path, chain_id, genesis, int(clock.now()))
        file = ChainFile(path, max_bytes)
        if file.chain_id != chain_id:
            file.close()
            raise Conflict(
                f"the chain file {path} is chain {file.chain_id}, not {chain_id}: choose the file that belongs to "
                "this network",
                path=str(path),
            )
    except BaseException:
        lock.release()
        raise
    return lock, file


def _locked(path: Path) -> FileLock:
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        with disk_full_as_error(path):
            lock.acquire()
    except Conflict as error:
        pid = error.facts.get("pid") or "unknown"
        raise Conflict(
            f"the chain file {path} is in use by another process ({pid}); one at a time may open it: ask its JSON-RPC "
            "endpoint instead, or stop it first",
            path=str(path),
            pid=pid,
        ) from error
    return lock
