"""An HTTP server on loopback that says the same to everyone and notes who asks."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator


class ScriptedServer(http.server.ThreadingHTTPServer):
    """Answers every GET and POST alike.

    Args:
        status: of every answer; of a 302 the body is where it leads.
        body: of every answer.
        kind: its media type.
    """

    def __init__(self, status: int, body: bytes, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.kind = status, body, kind
        self.asked: list[str] = []
        """The path of each request."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, ScriptedServer)
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", self.server.body.decode())
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # who refuses the length does not read on
            self.wfile.write(self.server.body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def scripted_server(
    status: int, body: bytes, kind: str = "application/octet-stream"
) -> Iterator[ScriptedServer]:
    """Run a server in a thread of its own until the block ends."""
    with ScriptedServer(status, body, kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
