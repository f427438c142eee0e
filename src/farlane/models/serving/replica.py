"""The replica process: one model behind a unix socket.

    python -m farlane.models.serving.replica --folder F --socket S [--runtime R] [--threads N] ...

It prints one line of JSON on stdout when the model is loaded and has answered a first probe, or says there why not;
everything else goes to stderr. It ends when its stdin closes, so that it never outlives whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import sys
import threading
from pathlib import Path

from farlane.domain.inference import EmbedRequest, GenerateRequest, InferenceKind, Sampling
from farlane.errors import FarlaneError
from farlane.kit.clock import SystemClock
from farlane.models.serving.gpus import VARIABLE
from farlane.models.serving.host import ModelHost, as_farlane_error
from farlane.models.serving.limits import ServingLimits
from farlane.models.serving.replica_server import serve_connection
from farlane.models.serving.runtime import Backed, Runtime, RuntimeOptions, open_runtime

log = logging.getLogger(__name__)


def probe(runtime: Runtime) -> None:
    """Let a loaded model answer once, so that the first client does not pay for what is done lazily.

    Arrays are not guessed: what a model takes beyond shapes is unknown here.

    Raises:
        FarlaneError: it cannot answer.
    """
    kinds = runtime.describe().kinds
    if InferenceKind.EMBEDDING in kinds:
        runtime.embed(EmbedRequest(("warm-up",)))
    if InferenceKind.GENERATION in kinds:
        request = GenerateRequest(prompt="A", sampling=Sampling(max_tokens=1, temperature=0.0))
        for _ in runtime.generate(request, lambda: False):
            pass


async def serve(runtime: Runtime, limits: ServingLimits, socket: Path, streams: int, ready: int) -> None:
    """Answer on `socket` until SIGTERM, then drain; `ready` is the descriptor that learns of the start."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with ModelHost(runtime, limits, SystemClock(), streams=streams) as host:
        server = await asyncio.start_unix_server(
            lambda reader, writer: serve_connection(host, reader, writer), str(socket)
        )
        async with server:
            _say(ready, {"ready": True})
            await ended.wait()
            await host.drain()
            server.close()


def _say(descriptor: int, outcome: dict[str, object]) -> None:
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(outcome) + "\n")


def _end_with_stdin() -> None:
    """End the process at once when whoever started it is gone."""

    def watch() -> None:
        # EOF is the death of the other end; nothing is ever sent.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def end_with(runtime: Runtime) -> None:
    """End this process with the one that holds the model: whoever started it then starts another."""
    if not isinstance(runtime, Backed):
        return
    backed: Backed = runtime

    def watch() -> None:
        if (error := backed.wait()) is not None:
            log.error("%s", error.message)
            sys.stderr.flush()
            os._exit(1)

    threading.Thread(target=watch, name="model's process", daemon=True).start()


def _parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="replica", description="Serve one model on a unix socket.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--runtime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--streams", type=int, default=2)
    parser.add_argument("--context-tokens", type=int, default=0)
    parser.add_argument("--memory-bytes", type=int, default=0)
    for name, field in ServingLimits.__dataclass_fields__.items():
        kind = float if name.endswith("_s") else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=field.default)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Load the model and serve it until told to end."""
    arguments = _parsed(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    ready = os.dup(1)
    os.dup2(2, 1)  # libraries print to stdout as they like; the first line there is ours
    _end_with_stdin()
    # Drivers of GPUs map far more memory than they use: no limit for who has any.
    if arguments.memory_bytes and not os.environ.get(VARIABLE):
        resource.setrlimit(resource.RLIMIT_DATA, (arguments.memory_bytes, arguments.memory_bytes))
    options = RuntimeOptions(
        threads=arguments.threads, streams=arguments.streams, context_tokens=arguments.context_tokens
    )
    try:
        limits = ServingLimits(
            **{name: getattr(arguments, name) for name in ServingLimits.__dataclass_fields__}
        )
        runtime = open_runtime(arguments.folder, options, arguments.runtime)
        end_with(runtime)
        probe(runtime)
    except Exception as error:
        failure: FarlaneError = as_farlane_error(error)
        log.error("the model cannot be served", exc_info=error)
        _say(ready, {"ready": False, "error": type(failure).__name__, "message": failure.message})
        return 1
    asyncio.run(serve(runtime, limits, arguments.socket, arguments.streams, ready))
    return 0


if __name__ == "__main__":
    # llama.cpp's and onnxruntime's threads may outlive their objects: leave without waiting for them.
    code = main()
    sys.stderr.flush()
    os._exit(code)
