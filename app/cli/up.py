"""`taskyard up`: everything in the foreground, from the servers to the clock."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import click
import orjson

from app import waiting
from app.cli.finding import data_option, read_settings
from app.cli.processes import CLOCK, PYTHON, ROOT, WEB, WORKER, WSGI, surroundings_of
from app.cli.supervisor import Child, Supervisor
from app.embedded import CannotStart, DataFolder, Instance, Postgres, Valkey
from app.embedded.account import servers_account
from app.embedded.child import born
from app.embedded.folder import ourselves
from app.errors import TaskyardError
from app.variables import printable

PATIENCE: Final = 60.0  # for servers that are not ours
SLOW: Final = 20.0  # after which we say what is missing
GRACE: Final = 25.0
TRIES: Final = 5  # that the web process may end before it ever answered


@click.command()
@data_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port to listen on (else PORT, else 8000); 0 takes any that is free.",
)
def up(data: Path | None, port: int | None) -> None:
    """Start everything in the foreground, and end it with Ctrl-C.

    PostgreSQL and Valkey are embedded, unless DATABASE_URL and REDIS_URL name your own.
    """
    raise SystemExit(Yard(data, port).run())


class Yard:
    """One running Taskyard: the data folder, the servers, and the three processes on them."""

    def __init__(self, data: Path | None, port: int | None) -> None:
        variables = {} if not port else {"PORT": str(port)}
        self.settings = read_settings(data, **variables)
        self.folder = DataFolder(self.settings.data)
        self.any_port = port == 0
        self.postgres: Postgres | None = None
        self.valkey: Valkey | None = None
        self.sockets: Path | None = None
        self.listener: socket.socket | None = None
        self.supervisor = Supervisor(self._say, ROOT)
        form = self.settings.log_format
        self.plain = sys.stdout.isatty() if form == "auto" else form == "text"
        self.ready = False
        self.patient_until = time.monotonic() + SLOW

    @property
    def url(self) -> str:
        host = self.settings.host
        shown = "127.0.0.1" if host in ("0.0.0.0", "localhost") else host  # noqa: S104
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.settings.port}"

    def run(self) -> int:
        self.supervisor.listen_to_signals()
        self.folder.hold()
        try:
            if self.folder.clear_leftovers():
                self._say("taskyard", "the last run did not end cleanly; its data are recovered")
            self._take_port()
            self._start_servers()
            if self.supervisor.told == 0:
                self._migrate()
            if self.supervisor.told == 0:
                self._start_processes()
            while self.supervisor.told == 0:
                self._turn()
        finally:
            self._end()
        return 0

    def _take_port(self) -> None:
        """Listen before anything is started: a taken port is told at once, and stays ours."""
        host = self.settings.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, 0 if self.any_port else self.settings.port))
        except (OSError, OverflowError) as fault:
            listener.close()
            raise CannotStart(
                f"Port {self.settings.port} on {host} cannot be listened on"
                f" ({getattr(fault, 'strerror', None) or fault}): name another with --port or PORT."
            ) from fault
        listener.listen(4096)
        self.listener = listener
        if self.any_port:
            port = listener.getsockname()[1]
            self.settings = read_settings(self.settings.data, PORT=str(port))

    def _start_servers(self) -> None:
        pid, born = ourselves()
        self.instance = Instance(pid, born, url=self.url)
        if self.settings.embedded:
            account = servers_account()
            self.sockets = self.folder.open_sockets(account)
            self.postgres = Postgres(self.folder.postgres, self.sockets)
            self.valkey = Valkey(self.folder.valkey, self.sockets)
            self._record()
            self.postgres.start()
            self.valkey.start()
            self.settings = self.settings.with_servers(
                self.postgres.url, self.valkey.url, self.folder.secret_key()
            )
            self._say("taskyard", f"PostgreSQL and Valkey run on {self.folder.path}")
        else:
            waiting.for_database(self.settings.database_url, PATIENCE)
            waiting.for_redis(self.settings.redis_url, PATIENCE)
        self._record()

    def _migrate(self) -> None:
        """In a process of its own: this one stays small and has one thread."""
        child = Child("migrate", (*PYTHON, "app.cli", "migrate"), self._environ())
        self.supervisor.start(child)
        code = self.supervisor.finish(child)
        if code != 0 and self.supervisor.told == 0:
            raise TaskyardError(
                "The database could not be brought up to date; what `taskyard migrate` said stands"
                " above."
            )

    def _start_processes(self) -> None:
        assert self.listener is not None
        environ = self._environ()
        self.listener.set_inheritable(True)
        descriptor = self.listener.fileno()
        bind = ("--bind", f"fd://{descriptor}")
        web = Child("web", (*WEB, *bind, *WSGI), environ, keep=(descriptor,))
        self.web = web
        for child in (web, Child("worker", WORKER, environ), Child("clock", CLOCK, environ)):
            self.supervisor.start(child)
        self._record()

    def _turn(self) -> None:
        self.supervisor.turn()
        if self.supervisor.look_after():
            self._record()
        self._look_after_servers()
        if not self.ready:
            self._look_whether_ready()

    def _look_whether_ready(self) -> None:
        said = self._ask_ready()
        if said == "200":
            self.ready = True
            self._tell(f"Taskyard is ready at {self.url}")
        elif self.web.failures >= TRIES:
            raise TaskyardError(
                f"The web process ended {TRIES} times before it answered; why stands above."
            )
        elif time.monotonic() > self.patient_until:
            self._say("taskyard", f"not ready yet: /api/ready says {said}")
            self.patient_until = time.monotonic() + PATIENCE

    def _look_after_servers(self) -> None:
        for name, server in (("PostgreSQL", self.postgres), ("Valkey", self.valkey)):
            if server is not None and not server.running:
                self._say("taskyard", f"{name} ended by itself (see {server.log}); starts again")
                server.start()
                self._record()

    def _ask_ready(self) -> str:
        """ "200", or what is amiss."""
        host = "127.0.0.1" if self.settings.host == "0.0.0.0" else self.settings.host  # noqa: S104
        connection = http.client.HTTPConnection(host, self.settings.port, timeout=2)
        try:
            connection.request("GET", "/api/ready")
            answer = connection.getresponse()
            if answer.status == 200:
                return "200"
            body = answer.read(2000).decode(errors="replace")
            return printable(f"{answer.status} {body}", 600)
        except (OSError, http.client.HTTPException) as fault:
            return printable(str(fault) or type(fault).__name__)
        finally:
            connection.close()

    def _record(self) -> None:
        """Write down what runs, for other commands and for the start after a kill."""
        processes = {
            child.name: (child.process.pid, child.born)
            for child in self.supervisor.children
            if child.process is not None
        }
        for name, server in (("postgres", self.postgres), ("valkey", self.valkey)):
            if server is not None and server.pid is not None:
                processes[name] = (server.pid, born(server.pid))
        self.folder.record(
            Instance(
                self.instance.pid,
                self.instance.born,
                url=self.url,
                database_url=self.settings.database_url,
                redis_url=self.settings.redis_url,
                sockets=str(self.sockets or ""),
                processes=processes,
            )
        )

    def _end(self) -> None:
        """Web, worker and clock first, all at once; the servers that they need last."""
        if self.listener is not None:
            self.listener.close()  # or connections would queue where nobody answers any more
        if self.supervisor.children:
            self._say("taskyard", "ends")
        self.supervisor.stop(GRACE)
        for server in (self.valkey, self.postgres):
            if server is not None:
                server.stop()
        if self.sockets is not None:
            self.folder.close_sockets(self.sockets)
        self.folder.forget()
        self.folder.let_go()

    def _environ(self) -> dict[str, str]:
        # The children speak into a pipe, but it may be a person who reads.
        form: Literal["text", "json"] = "text" if self.plain else "json"
        return {
            **surroundings_of(replace(self.settings, log_format=form)),
            "PROMETHEUS_MULTIPROC_DIR": str(self.folder.path / "metrics"),
        }

    def _say(self, who: str, line: str) -> None:
        if self.plain:
            self._tell(f"{who:<8} | {line}")
        elif line.startswith("{"):
            self._tell(line)
        else:
            now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
            said = {"time": now, "level": "info", "process": who, "message": line}
            self._tell(orjson.dumps(said).decode())

    def _tell(self, line: str) -> None:
        # A reader that went away (`taskyard up | head`) is no reason to end.
        with contextlib.suppress(OSError):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
