"""`taskyard up`, whole: it comes up, survives what is killed under it, leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from psycopg import sql

from app.embedded import DataFolder, Instance
from app.embedded.child import find
from app.settings import Settings
from tests.conftest import Servers
from tests.shell.running import TASKYARD, Running, until

READY = "Taskyard is ready at "
EVERYTHING = {"web", "worker", "clock", "postgres", "valkey"}


@contextmanager
def up(data: Path, **variables: str) -> Iterator[tuple[Running, str]]:
    """A Taskyard that is ready, and where."""
    command = (*TASKYARD, "up", "--data", str(data), "--port", "0")
    with Running(command, data.parent, **variables) as running:
        try:
            yield running, running.wait_for(READY, 60).removeprefix(READY)
        finally:
            if running.process.poll() is None:
                running.end(seconds=40)


def instance_on(data: Path) -> Instance:
    instance = DataFolder(data).running()
    assert instance is not None
    return instance


def alive(processes: dict[str, tuple[int, float]]) -> list[str]:
    return [name for name, (pid, born) in processes.items() if find(pid, born) is not None]


def check(data: Path, **variables: str) -> Running:
    command = Running((*TASKYARD, "check", "--data", str(data)), data.parent, **variables)
    with command:
        command.wait(60)
    return command


def test_everything_comes_up_is_found_and_ends_without_a_trace(folder: Path) -> None:
    data = folder / "data"
    with up(data) as (running, url):
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/api/ready").status_code == 200
        instance = instance_on(data)
        assert instance.url == url
        assert set(instance.processes) == EVERYTHING

        found = check(data)
        assert found.process.returncode == 0, found.said
        assert [line.split()[:2] for line in found.lines] == [
            ["ok", name]
            for name in ("settings", "database", "migrations", "redis", "worker", "clock")
        ]

        with Running((*TASKYARD, "up", "--data", str(data)), folder) as second:
            assert second.wait() == 1
        assert f"held by the Taskyard at {url} with process {running.pid}" in second.said

        family = psutil.Process(running.pid).children(recursive=True)
        assert running.end(signal.SIGINT, 40) == 0
        assert psutil.wait_procs(family, timeout=1)[1] == [], "nothing is left running"
    assert not (data / "instance.json").exists()
    assert not (data / "run").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_keeps_the_data(
    folder: Path,
) -> None:
    data = folder / "data"
    with up(data) as (running, _):
        instance = instance_on(data)
        key = (data / "secret_key").read_text()
        with psycopg.connect(instance.database_url) as connection:
            connection.execute("CREATE TABLE words AS SELECT 'kept' AS word")
        running.process.kill()
        running.wait()
        # At once, while the old processes are still at their ends.
        with up(data) as (again, _):
            assert alive(instance.processes) == []
            assert "did not end cleanly" in again.said
            with psycopg.connect(instance_on(data).database_url) as connection:
                assert connection.execute("SELECT word FROM words").fetchone() == ("kept",)
            assert (data / "secret_key").read_text() == key
            assert check(data).process.returncode == 0


def test_it_recovers_after_everything_was_killed_at_once(folder: Path) -> None:
    data = folder / "data"
    with up(data) as (running, _):
        family = psutil.Process(running.pid).children(recursive=True)
        with psycopg.connect(instance_on(data).database_url) as connection:
            connection.execute("CREATE TABLE words AS SELECT 'kept' AS word")
        for process in (psutil.Process(running.pid), *family):
            with suppress(psutil.NoSuchProcess):  # it followed its parent before we came to it
                process.kill()
        running.wait()
    with up(data), psycopg.connect(instance_on(data).database_url) as connection:
        assert connection.execute("SELECT word FROM words").fetchone() == ("kept",)


def test_whatever_is_killed_comes_back(folder: Path) -> None:
    data = folder / "data"
    with up(data) as (_, url):

        def is_back(name: str, pid: int) -> bool:
            if instance_on(data).processes.get(name, (pid, 0.0))[0] == pid:
                return False
            try:
                return httpx.get(f"{url}/api/ready", timeout=5).status_code == 200
            except httpx.HTTPError:
                return False

        for name in sorted(EVERYTHING):
            pid = instance_on(data).processes[name][0]
            os.kill(pid, signal.SIGKILL)
            until(lambda name=name, pid=pid: is_back(name, pid), f"{name} is back", 40)  # type: ignore[misc]

        def all_is_well() -> bool:
            return check(data).process.returncode == 0

        until(all_is_well, "every check passes", 40)


def test_servers_of_ones_own_are_used_and_left_running(
    servers: Servers, settings: Settings, folder: Path
) -> None:
    with ExitStack() as stack:
        admin = stack.enter_context(psycopg.connect(servers.postgres.admin_url, autocommit=True))
        admin.execute("CREATE DATABASE own OWNER taskyard")
        drop = sql.SQL("DROP DATABASE own WITH (FORCE)")
        stack.callback(admin.execute, drop)
        own = settings.database_url.replace("/taskyard?", "/own?")
        environ = {
            **settings.environ(),
            "DATABASE_URL": own,
            "REDIS_URL": f"{settings.redis_url}?db=7",
        }
        environ.pop("TASKYARD_PUBLIC_URL")
        data = folder / "data"
        with up(data, **environ) as (running, _):
            assert set(instance_on(data).processes) == {"web", "worker", "clock"}
            assert not (data / "postgres").exists()
            found = check(data, **environ)
            assert found.process.returncode == 0, found.said
            assert running.end() == 0
        with psycopg.connect(own) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_start_that_is_interrupted_ends_cleanly(folder: Path) -> None:
    for seconds in (0.3, 0.9, 1.5):
        data = folder / f"after-{seconds}"
        command = (*TASKYARD, "up", "--data", str(data), "--port", "0")
        with Running(command, folder) as running:
            until(lambda data=data: (data / "lock").exists(), "it began")  # type: ignore[misc]
            time.sleep(seconds)  # somewhere in the middle; each place must do
            family = psutil.Process(running.pid).children(recursive=True)
            assert running.end(seconds=40) == 0, running.said
            assert "Traceback" not in running.said
            assert psutil.wait_procs(family, timeout=1)[1] == []
