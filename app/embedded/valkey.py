"""Valkey as a child process: started, stopped, and recovered after a kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import redis

from app.embedded.account import servers_account
from app.embedded.binaries import VALKEY, valkey_path
from app.embedded.child import end, spawn
from app.embedded.faults import CannotStart
from app.embedded.folder import open_log


class Valkey:
    """One server that keeps its append-only file in `home`, reached through a socket alone."""

    def __init__(self, home: Path, sockets: Path, *, fast: bool = False) -> None:
        self.home = home
        self.socket = sockets / "valkey.sock"
        self.log = home.with_name(f"{home.name}.log")
        self.fast = fast
        self._account = servers_account()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As redis-py and Dramatiq spell it; `Settings.limits_url` is the other spelling."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = 60) -> None:
        try:
            if not self.home.exists():
                self.home.mkdir(mode=0o700)
                self._account.owns(self.home)
            with contextlib.suppress(FileNotFoundError):
                self.socket.unlink()
            log = open_log(self.log)
        except OSError as fault:
            raise CannotStart(
                f"The data folder {self.home.parent} cannot be written ({fault.strerror})."
            ) from fault
        program = VALKEY.program(valkey_path(), self._account, self.home.parent)
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": ".",  # the working folder: a closed folder above it does not matter
            "appendonly": "no" if self.fast else "yes",
            "appendfsync": "everysec",
            "save": "",
            "daemonize": "no",
            "maxmemory-policy": "noeviction",  # an evicted message would be a lost one
            "maxclients": "4000",
            "tcp-backlog": "511",
            "loglevel": "warning",
        }
        command = [str(program)]
        for name, value in settings.items():
            command += [f"--{name}", value]
        with log:
            self._process = spawn(
                command,
                cwd=self.home,
                output=log,
                on_orphaned=signal.SIGKILL if self.fast else signal.SIGTERM,
                account=self._account,
                environ={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            )
        self._wait(time.monotonic() + timeout)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process, (signal.SIGTERM, 0.5 if self.fast else 10))
            self._process = None

    def _wait(self, deadline: float) -> None:
        assert self._process is not None
        with contextlib.closing(redis.Redis.from_url(self.url)) as client:
            while True:
                with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
                    if client.ping():
                        return
                if self._process.poll() is not None:
                    raise CannotStart(f"Valkey did not start: {self._last_words()}")
                if time.monotonic() > deadline:
                    self.stop()
                    raise CannotStart(f"Valkey does not answer: {self._last_words()}")
                time.sleep(0.01)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1]
        return "it said nothing"
