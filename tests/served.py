"""Real web processes for tests: gunicorn as production runs it, on a port of its own.

from tests.served import server  # in a conftest.py, beside the names of tests.fresh

def test_something(server: Serve, member: Key) -> None:
    url = server(workers=2)
    httpx.get(f"{url}/api/executions", headers=member.headers)
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from app.cli.processes import WEB, WSGI
from app.settings import Settings
from tests.shell.running import Running, until


class Serve(Protocol):
    def __call__(self, workers: int = 2, **variables: str) -> str: ...


@dataclass(frozen=True)
class Served:
    """A gunicorn master with its workers, and where it answers."""

    url: str
    process: Running


@pytest.fixture
def server(migrated: Settings) -> Iterator[Serve]:
    """Starts a web server on the test's database and gives its address; all end with the test."""
    with ExitStack() as stack:

        def serve(workers: int = 2, **variables: str) -> str:
            return stack.enter_context(serving(migrated, workers, **variables)).url

        yield serve


@contextmanager
def serving(settings: Settings, workers: int = 2, **variables: str) -> Iterator[Served]:
    """`variables` are further settings, by the names of their environment variables."""
    settings = replace(
        settings, port=free_port(), web_concurrency=workers, rate_limits=False, log_format="text"
    )
    url = f"http://127.0.0.1:{settings.port}"
    with tempfile.TemporaryDirectory() as folder:
        environ = {**settings.environ(), **variables}
        with Running((*WEB, *WSGI), Path(folder), **environ) as process:
            until(lambda: answers(url, process), "the web server answers", 30)
            try:
                yield Served(url, process)
            finally:
                if process.process.poll() is None:
                    process.end()


def answers(url: str, process: Running) -> bool:
    assert process.process.poll() is None, f"the web server ended:\n{process.said}"
    try:
        return httpx.get(f"{url}/api/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
