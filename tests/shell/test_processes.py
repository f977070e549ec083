"""Worker, clock and web as real processes: they wait, work, and end cleanly."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import dramatiq
import psycopg
import pytest
import redis

from app import broker as brokers
from app import leader
from app.embedded import DataFolder, Postgres, Valkey
from app.embedded.account import servers_account
from app.settings import Settings
from tests.conftest import make_test_folder
from tests.shell.running import ROOT, Running, until

WORKER = (sys.executable, "-P", "-m", "actors")
# The worker's own process with an actor that takes its time.
SLOW_WORKER = """
import sys, time
import actors, dramatiq
from actors.__main__ import run
from app.settings import load
register = actors.register
def with_slow(broker):
    register(broker)
    def slow(word, seconds):
        print("began", word, flush=True)
        time.sleep(seconds)
        broker.client.set("done:" + word, 1, ex=60)
        print("finished", word, flush=True)
    dramatiq.actor(broker=broker, actor_name="slow", queue_name="default")(slow)
actors.register = with_slow
run(load())
"""
CLOCK = """
import sys
from app import clock, clockwork
from app.clockwork import Sweep
from app.settings import load
def fail():
    raise RuntimeError("this sweep fails")
clock.table = lambda database: [Sweep("good", 0.2, lambda: 7), Sweep("bad", 0.2, fail)]
clock.beat = lambda database: lambda name, seconds, done: print("beat", name, done, flush=True)
clock.run(load())
"""


@pytest.fixture
def store() -> Iterator[Valkey]:
    """A Valkey that the test may stop and kill."""
    with ExitStack() as stack:
        folder = DataFolder(make_test_folder(stack))
        sockets = folder.open_sockets(servers_account())
        stack.callback(folder.close_sockets, sockets)
        valkey = Valkey(folder.valkey, sockets, fast=True)
        stack.callback(valkey.stop)
        yield valkey


def variables(settings: Settings, **others: str) -> dict[str, str]:
    return {**settings.environ(), "TASKYARD_LOG_FORMAT": "text", **others}


def send(url: str, actor: str, *args: object) -> None:
    from dataclasses import replace

    from app.settings import load

    broker = brokers.connect(replace(load({}), redis_url=url))
    broker.declare_queue("default")
    broker.enqueue(
        dramatiq.Message(queue_name="default", actor_name=actor, args=args, kwargs={}, options={})
    )
    broker.close()


def test_a_worker_waits_for_redis_works_and_ends(
    settings: Settings, store: Valkey, folder: Path
) -> None:
    environ = variables(settings, REDIS_URL=store.url)
    with Running(WORKER, folder, **environ) as worker:
        assert "waiting for Redis" in worker.wait_for("waiting for")
        store.start()
        worker.wait_for("Redis answers")
        assert "threads=4" in worker.wait_for("worker runs")
        word = uuid.uuid4().hex
        send(store.url, "pulse", word)
        with closing(redis.Redis.from_url(store.url)) as client:
            until(lambda: client.exists(brokers.PULSES + word), "the pulse is written down")
            assert len(client.keys(f"{brokers.BEATS}*")) == 1
            assert worker.end() == 0
            assert client.keys(f"{brokers.BEATS}*") == [], "a worker that ended does not beat"


def test_a_worker_ends_while_it_still_waits(
    settings: Settings, store: Valkey, folder: Path
) -> None:
    with Running(WORKER, folder, **variables(settings, REDIS_URL=store.url)) as worker:
        worker.wait_for("waiting for Redis")
        assert worker.end() == 0


@pytest.mark.parametrize("group", [False, True], ids=["to the process", "to its whole group"])
def test_a_worker_told_to_end_finishes_what_runs(
    settings: Settings, store: Valkey, folder: Path, group: bool
) -> None:
    store.start()
    command = (sys.executable, "-P", "-c", SLOW_WORKER)
    environ = variables(settings, REDIS_URL=store.url, TASKYARD_WORKER_THREADS="1")
    with Running(command, folder, **environ) as worker:
        worker.wait_for("worker runs")
        send(store.url, "slow", "first", 1.5)
        worker.wait_for("began first")
        send(store.url, "slow", "second", 0)
        if group:
            os.killpg(worker.pid, signal.SIGTERM)
            assert worker.wait() == 0
        else:
            assert worker.end() == 0
        assert "finished first" in worker.said
        assert "began second" not in worker.said, "it takes nothing new"
    with Running(command, folder, **environ) as next_worker:
        next_worker.wait_for("finished second")


def test_what_a_killed_worker_had_is_given_to_another(
    settings: Settings, store: Valkey, folder: Path
) -> None:
    store.start()
    command = (sys.executable, "-P", "-c", SLOW_WORKER)
    environ = variables(settings, REDIS_URL=store.url)
    with Running(command, folder, **environ) as worker:
        worker.wait_for("worker runs")
        send(store.url, "slow", "once", 1)
        worker.wait_for("began once")
        worker.process.kill()
        worker.wait()
    with Running(command, folder, **environ) as another:
        another.wait_for("finished once", seconds=90)


def test_a_worker_outlives_a_store_that_is_killed(
    settings: Settings, store: Valkey, folder: Path
) -> None:
    store.start()
    with Running(WORKER, folder, **variables(settings, REDIS_URL=store.url)) as worker:
        worker.wait_for("worker runs")
        assert store.pid is not None
        os.kill(store.pid, signal.SIGKILL)
        until(lambda: not store.running, "it is gone")
        store.start()
        word = uuid.uuid4().hex
        send(store.url, "pulse", word)
        with closing(redis.Redis.from_url(store.url)) as client:
            until(lambda: client.exists(brokers.PULSES + word), "it works again", 30)
        assert worker.end() == 0


def test_one_clock_leads_and_another_takes_over_when_it_is_killed(
    settings: Settings, folder: Path
) -> None:
    command = (sys.executable, "-P", "-c", CLOCK)
    with (
        Running(command, folder, **variables(settings)) as first,
        psycopg.connect(settings.database_url, autocommit=True) as session,
    ):
        first.wait_for("beat good 7")
        first.wait_for("a sweep failed")
        first.wait_for("beat good 7", 5)
        assert leader.is_led(session)
        with Running(command, folder, **variables(settings)) as second:
            second.wait_for("clock runs")
            assert "leads" not in second.said
            first.process.kill()
            killed = time.monotonic()
            second.wait_for("beat good 7")
            assert time.monotonic() - killed < 5
            assert second.end() == 0
            assert "clock ended" in second.said
        until(lambda: not leader.is_led(session), "nobody leads")
        assert "beat bad" not in first.said


def test_a_clock_that_loses_the_database_leads_again_when_it_is_back(folder: Path) -> None:
    with ExitStack() as stack:
        data = DataFolder(make_test_folder(stack))
        sockets = data.open_sockets(servers_account())
        stack.callback(data.close_sockets, sockets)
        postgres = Postgres(data.postgres, sockets)
        stack.callback(postgres.stop)
        postgres.start()
        environ = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": "redis://127.0.0.1:1",
            "SECRET_KEY": "a key that signs nothing",
            "TASKYARD_LOG_FORMAT": "text",
        }
        clock = Running((sys.executable, "-P", "-c", CLOCK), folder, **environ)
        stack.enter_context(clock)
        clock.wait_for("beat good 7")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        clock.wait_for("lost the database")
        until(lambda: not postgres.running, "it is gone")
        postgres.start()
        clock.wait_for("leads")
        clock.wait_for("beat good 7")
        assert clock.end() == 0


def test_a_clock_ends_while_it_still_waits(settings: Settings, folder: Path) -> None:
    environ = variables(settings, DATABASE_URL=settings.database_url.replace("run", "gone"))
    with Running((sys.executable, "-P", "-m", "app.clock"), folder, **environ) as clock:
        clock.wait_for("waiting for PostgreSQL")
        assert clock.end() == 0
        assert "Traceback" not in clock.said


APP = """
from flask import Flask
from app.stopping import stopping
app = Flask("bare")
@app.get("/")
def now():
    return "now"
@app.get("/wait")
def wait():
    return "told" if stopping.wait(30) else "waited"
"""


def test_web_told_to_end_answers_who_waits_and_lets_idle_connections_go(
    settings: Settings, folder: Path
) -> None:
    (folder / "bare.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = (
        *(sys.executable, "-P", "-W", "error", "-m", "gunicorn"),
        *("--config", str(ROOT / "gunicorn.conf.py"), "--chdir", str(folder), "bare:app"),
    )
    environ = variables(settings, PORT=str(port))
    with Running(command, folder, **environ) as web, ExitStack() as stack:
        for _ in range(2):
            web.wait_for("Booting worker")

        def call(path: str) -> socket.socket:
            def connected() -> socket.socket | None:
                try:
                    return socket.create_connection(("127.0.0.1", port), timeout=10)
                except ConnectionRefusedError:
                    return None

            connection = connected()
            while connection is None:
                connection = connected()
            stack.enter_context(connection)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return connection

        idle = [call("/") for _ in range(4)]
        for connection in idle:
            assert read_answer(connection).endswith(b"now")
        silent = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        waiting = [call("/wait") for _ in range(4)]
        # An answer on a fresh connection says that both workers have taken theirs up.
        for _ in range(4):
            read_answer(call("/"))
        told = time.monotonic()
        web.process.terminate()
        for connection in waiting:
            assert read_answer(connection).endswith(b"told")
        for connection in (*idle, silent):
            assert connection.recv(1000) == b""
        assert web.wait() == 0
        assert time.monotonic() - told < 8, "well inside the graceful timeout"
        assert "graceful timeout" not in web.said


def read_answer(connection: socket.socket) -> bytes:
    """One answer, head and body."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += connection.recv(4096)
    head, _, body = said.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(4096)
    return body


def test_settings_that_cannot_be_used_end_gunicorn_with_sentences(folder: Path) -> None:
    command = (
        *(sys.executable, "-P", "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")),
        *("--chdir", str(ROOT), "wsgi:app"),
    )
    with Running(command, folder, PORT="none", WEB_CONCURRENCY="0") as web:
        assert web.wait() == 2
        assert "PORT is none; expected" in web.said
        assert "WEB_CONCURRENCY is 0; expected" in web.said
        assert "Traceback" not in web.said
