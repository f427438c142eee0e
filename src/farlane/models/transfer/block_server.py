"""The block server: a gateway in a thread with a loop of its own, so that sending never holds up anything else."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from farlane.errors import Internal, InvalidSetting
from farlane.models.blocks.port import BlockSource
from farlane.models.transfer.gateway import Admit, Counters, Gateway
from farlane.models.transfer.http_connection import parse_address

if TYPE_CHECKING:  # aiohttp takes 0.2 s to import: only those who serve pay for it
    from aiohttp.web import Server

STOP_S: Final = 5.0
KEEP_ALIVE_S: Final = 75.0
MOST_CONNECTIONS: Final = 1024
"""At a time; whoever comes when there are so many is turned away. A node has four to each that it fetches from."""


class BlockServer:
    """Serves blocks until it is closed.

    Args:
        listen: HOST:PORT; port 0 picks a free one.
        source: where the blocks are.
        admit: who may have which.

    Raises:
        InvalidInput: the address is none.
        InvalidSetting: nothing can listen there.
    """

    def __init__(self, listen: str, source: BlockSource, admit: Admit) -> None:
        host, colon, port = listen.rpartition(":")
        self._host = parse_address(f"{host}{colon}{port if port != '0' else '1'}")[0]
        self._port = int(port)
        self._source, self._admit = source, admit
        self._ready: Future[tuple[int, Counters]] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="block server", daemon=True)
        self._thread.start()
        self.port, self.counters = self._ready.result()
        self.address = f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    def close(self) -> None:
        """Stop serving; what is being sent is cut off after a moment."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_S * 2)

    def _run(self) -> None:
        # Not uvloop: its loop has no sendfile.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        from aiohttp import web

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        gateway = Gateway(self._source, self._admit)
        runner = web.AppRunner(
            gateway.application(), access_log=None, keepalive_timeout=KEEP_ALIVE_S, shutdown_timeout=STOP_S
        )
        await runner.setup()
        try:
            listener = await self._loop.create_server(
                lambda: _protocol(runner.server, gateway.counters), self._host, self._port
            )
            self._ready.set_result((int(listener.sockets[0].getsockname()[1]), gateway.counters))
        except OSError as error:
            self._ready.set_exception(
                InvalidSetting(
                    f"cannot serve blocks on {self._host}:{self._port}: {error}. Choose another port, or 0 for any"
                )
            )
            await runner.cleanup()
            return
        await self._stop.wait()
        listener.close()
        await runner.cleanup()


class _Refusing(asyncio.Protocol):
    """Hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _protocol(server: Server | None, counters: Counters) -> asyncio.BaseProtocol:
    if server is None:
        raise Internal("the block server was not set up")
    if len(server.connections) >= MOST_CONNECTIONS:
        counters.refused += 1
        return _Refusing()
    return server()
