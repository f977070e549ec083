"""A road to the server on which answers get lost, after the server has done what was asked."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

PASSED_ON: Final = ("authorization", "content-type")

Verdict = Callable[[], bool]


class Road(ThreadingHTTPServer):
    """Forwards each request; asks `loses` of each answer."""

    daemon_threads = True

    def __init__(self, target: str, loses: Verdict) -> None:
        super().__init__(("127.0.0.1", 0), Traveller)
        self.target = urlsplit(target)
        self.loses = loses
        self.lock = threading.Lock()
        self.lost = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news here."""


class Traveller(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Road

    def do_GET(self) -> None:
        self._travel()

    def do_POST(self) -> None:
        self._travel()

    def _travel(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        target = self.server.target
        there = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        try:
            headers = {name: value for name in PASSED_ON if (value := self.headers.get(name))}
            there.request(self.command, self.path, body, headers)
            answer = there.getresponse()
            said = answer.read()
        finally:
            there.close()
        with self.server.lock:
            lost = self.server.loses()
            self.server.lost += lost
        if lost:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


def every(kth: int) -> Verdict:
    """Loses each so-manieth answer, whosever it is: repetitions too."""
    lots = random.Random(kth)
    return lambda: lots.random() < 1 / kth


@contextmanager
def lossy_road(target: str, loses: Verdict) -> Iterator[Road]:
    road = Road(target, loses)
    thread = threading.Thread(target=road.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield road
    finally:
        road.shutdown()
        road.server_close()
        thread.join(5)
