"""A server whose answer stops coming: it says one word, then nothing until it is killed or its client leaves.

    python silent_server.py SOCKET FILE

FILE gets its process's id and that of a process it has started, then a line for each client that left.
"""

from __future__ import annotations

import contextlib
import os
import socketserver
import subprocess
import sys
from http.server import BaseHTTPRequestHandler

WORD = b'data: {"choices": [{"text": "word"}]}\n\n'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.strip("/")
        if name.isdecimal():
            self._answer(int(name), b'{"error": {"message": "as asked", "type": "test"}}')
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if name == "word":
            self.wfile.write(b"%x\r\n%s\r\n" % (len(WORD), WORD))
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.rfile.read(1)  # returns when the client leaves
        write("left")
        self.close_connection = True

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def address_string(self) -> str:
        return "client"


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def write(line: str) -> None:
    with open(sys.argv[2], "a", encoding="utf-8") as stream:
        stream.write(line + "\n")


if __name__ == "__main__":
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    write(f"{os.getpid()} {child.pid}")
    Server(sys.argv[1], Handler).serve_forever()
