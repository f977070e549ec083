"""Many at once: threads that start together, and requests that leave in one volley."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from tests.fresh import Key

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Door:
    """Somebody's calls to one of several web processes."""

    url: str
    key: Key

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        with httpx.Client(timeout=90) as client:
            return client.request(method, self.url + path, json=body, headers=self.key.headers)

    def work(self, query: str = "") -> httpx.Response:
        return self.call("GET", f"/api/agents/{self.key.id}/work{query}")

    def report(self, piece: dict[str, Any], kind: str, query: str = "", **more: Any) -> Any:
        said = {
            "type": kind,
            "job_id": piece["job"]["id"],
            "token": piece["lease"]["token"],
            **more,
        }
        return self.call("POST", f"/api/executions/{piece['execution_id']}/events{query}", said)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What each call gives, all begun behind one barrier. A fault in one is the fault of all."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)
    faults: list[BaseException] = []

    def run(place: int) -> None:
        try:
            barrier.wait(30)
            results[place] = calls[place]()
        except BaseException as fault:  # noqa: BLE001  # raised again where the test sees it
            faults.append(fault)

    threads = [
        threading.Thread(target=run, args=[place], daemon=True) for place in range(len(calls))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a call has not come back in two minutes"
    if faults:
        raise faults[0]
    return results


class Volley:
    """Connections that stay open. All requests are sent before any answer is read, so that the
    processes behind them have them all at once; a thread each would spread them out."""

    def __init__(self, urls: Sequence[str], keys: Sequence[Key]) -> None:
        self._lines: list[tuple[socket.socket, bytes]] = []
        for place, key in enumerate(keys):
            url = urlsplit(urls[place % len(urls)])
            assert url.hostname is not None
            assert url.port is not None
            line = socket.create_connection((url.hostname, url.port), timeout=60)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._lines.append(
                (line, f"Host: {url.netloc}\r\nAuthorization: Bearer {key.text}".encode())
            )

    def fire(self, paths: Sequence[str]) -> list[tuple[int, Any]]:
        """A GET on each connection: the status and the JSON of each."""
        for (line, head), path in zip(self._lines, paths, strict=True):
            line.sendall(b"GET %s HTTP/1.1\r\n%s\r\n\r\n" % (path.encode(), head))
        return [self._read(line) for line, _ in self._lines]

    @staticmethod
    def _read(line: socket.socket) -> tuple[int, Any]:
        told = b""
        while b"\r\n\r\n" not in told:
            more = line.recv(65_536)
            assert more, "the server hung up"
            told += more
        head, _, body = told.partition(b"\r\n\r\n")
        found = LENGTH.search(head)
        length = 0 if found is None else int(found[1])
        while len(body) < length:
            body += line.recv(65_536)
        return int(head[9:12]), orjson.loads(body) if body else None

    def close(self) -> None:
        for line, _ in self._lines:
            line.close()
