"""A proxy that loses answers: the request arrives and is done, and nobody hears of it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit


class LeakyProxy:
    """Passes one request a connection; every so many answers are lost."""

    def __init__(self, url: str, lose_every: int) -> None:
        parts = urlsplit(url)
        self._there = (parts.hostname or "", parts.port or 0)
        self._lose_every = lose_every
        self._passed = 0
        self.lost = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> LeakyProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[caller], daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(self._there) as server, suppress(OSError):
            server.sendall(read_request(caller))
            answer = b"".join(iter(lambda: server.recv(65536), b""))
            with self._lock:
                self._passed += 1
                loses = self._passed % self._lose_every == 0
                self.lost += loses
            if not loses:
                caller.sendall(answer)


def read_request(caller: socket.socket) -> bytes:
    """Head and body; urllib says Connection: close, so the answer ends with the connection."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += caller.recv(65536)
    head, _, body = said.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if b"ength:" in line]
    while len(body) < int(lengths[0] if lengths else 0):
        body += caller.recv(65536)
    return head + b"\r\n\r\n" + body
