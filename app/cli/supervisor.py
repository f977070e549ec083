"""Children that are kept alive, heard, and ended in order. One thread: the kernel ends a child when
the thread that started it ends, and a fork beside other threads may inherit their locks."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.embedded.child import born, spawn
from app.stopping import stopping
from app.variables import printable

TICK: Final = 0.2
LONGEST_PAUSE: Final = 30.0
SETTLED: Final = 60.0  # a child that lived this long starts anew with the shortest pause

Say = Callable[[str, str], None]  # who, one line


@dataclass
class Child:
    """One process that should run: how it is started, and how its last start went."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    keep: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    born: float = 0.0  # by the kernel's count, to know it again
    started: float = 0.0
    failures: int = 0
    due: float = 0.0
    rest: bytes = field(default=b"", repr=False)  # of a line that has not ended yet

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Starts children again when they end, until it is told to stop."""

    def __init__(self, say: Say, cwd: Path) -> None:
        self.children: list[Child] = []
        self.told = 0  # how many times somebody asked us to end
        self._say = say
        self._cwd = cwd
        self._selector = selectors.DefaultSelector()
        self._wake, wakes = socket.socketpair()
        self._wakes = wakes
        for end in (self._wake, wakes):
            end.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, None)

    def listen_to_signals(self) -> None:
        # A signal must end the wait for lines at once, not at the next line.
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self.told += 1
        stopping.set()

    def start(self, child: Child) -> None:
        child.process = spawn(
            child.command,
            cwd=self._cwd,
            output=subprocess.PIPE,
            on_orphaned=signal.SIGTERM,
            environ=child.environ,
            keep=child.keep,
        )
        child.started = time.monotonic()
        child.born = born(child.process.pid)
        assert child.process.stdout is not None
        os.set_blocking(child.process.stdout.fileno(), False)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)
        if child not in self.children:
            self.children.append(child)

    def finish(self, child: Child) -> int:
        """Wait for a child that is meant to end, and forget it."""
        assert child.process is not None
        while child.running:
            self.turn()
        self._hear(child)
        self._forget(child)
        self.children.remove(child)
        return child.process.returncode

    def turn(self, seconds: float = TICK) -> None:
        """Pass on what was said, for about so long."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                self._drain_wakes()
            else:
                self._hear(key.data)

    def look_after(self) -> bool:
        """Start again what ended, when its pause is over; true when a child was started."""
        started = False
        for child in self.children:
            if child.running:
                continue
            if child.process is not None:
                self._bury(child)
            elif time.monotonic() >= child.due:
                self.start(child)
                started = True
        return started

    def stop(self, seconds: float) -> None:
        """TERM to each, all at once, and KILL to what is left after so long."""
        asked = self.told
        for child in self.children:
            if child.running and child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + seconds
        while any(child.running for child in self.children):
            # Who asks twice does not want to wait.
            if time.monotonic() > deadline or self.told > asked + 1:
                break
            self.turn(0.1)
        for child in self.children:
            if child.running and child.process is not None:
                self._say("taskyard", f"{child.name} did not end in time and is killed")
                child.process.kill()
            if child.process is not None:
                child.process.wait()
                self._hear(child)
        self._selector.close()
        self._wake.close()
        signal.set_wakeup_fd(-1)
        self._wakes.close()

    def _bury(self, child: Child) -> None:
        assert child.process is not None
        assert child.process.stdout is not None
        self._hear(child)
        code = child.process.returncode
        lived = time.monotonic() - child.started
        child.failures = 1 if lived > SETTLED else child.failures + 1
        pause = min(LONGEST_PAUSE, 0.5 * 2 ** (child.failures - 1))
        child.due = time.monotonic() + pause
        self._forget(child)
        child.process = None
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        self._say("taskyard", f"{child.name} ended {how}; starts again in {pause:g} s")

    def _forget(self, child: Child) -> None:
        """Its output has ended, or nobody is left to end it."""
        assert child.process is not None
        pipe = child.process.stdout
        self._pass_on(child, child.rest)
        child.rest = b""
        if pipe is not None and not pipe.closed:
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)
            pipe.close()

    def _hear(self, child: Child) -> None:
        assert child.process is not None
        pipe = child.process.stdout
        if pipe is None or pipe.closed:
            return
        while True:
            try:
                said = os.read(pipe.fileno(), 65536)
            except BlockingIOError:
                break
            if not said:  # it and whoever inherited its output are gone
                self._forget(child)
                break
            *lines, child.rest = (child.rest + said).split(b"\n")
            for line in lines:
                self._pass_on(child, line)
            if len(child.rest) > 65536:
                self._pass_on(child, child.rest)
                child.rest = b""

    def _pass_on(self, child: Child, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._say(child.name, printable(text, 20_000))

    def _drain_wakes(self) -> None:
        try:
            while self._wake.recv(4096):
                pass
        except BlockingIOError:
            return
