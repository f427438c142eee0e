"""llama.cpp's own HTTP server as a process, the real OpenAI-compatible server that a client is tested against.

python -m farlane.testing.llama_server MODEL.gguf SOCKET KEY
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path


def llama_command(model: Path, socket: Path, key: str) -> tuple[list[str], Mapping[str, str]]:
    """Return how to start it, and what its environment needs besides.

    Args:
        model: a GGUF file.
        socket: where it listens; llama.cpp takes a path for one where it ends in .sock.
        key: what it asks for.
    """
    here = str(Path(__file__).resolve().parents[2])
    module = [sys.executable, "-P", "-m", "farlane.testing.llama_server"]
    return [*module, str(model), str(socket), key], {"PYTHONPATH": here}


def main(model: str, socket: str, key: str) -> None:
    """Serve until a signal ends the process."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.n_ctx, settings.n_parallel = 512, 2
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.n_gpu_layers = 0
    settings.use_jinja = True
    settings.warmup = settings.ui = False
    settings.verbosity = 2
    settings.hostnames, settings.api_keys = [socket], [key]
    server = xllamacpp.Server(settings)
    signal.pause()
    del server


if __name__ == "__main__":
    main(*sys.argv[1:])
