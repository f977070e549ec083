"""Processes of the bench: each is started with a log of its own and ended by its pid."""

import ctypes
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class BenchFailed(Exception):
    """One sentence that says what went wrong and where to look."""


@dataclass(slots=True)
class Running:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    patience: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def check(self) -> None:
        if self.process.poll() is not None:
            raise BenchFailed(
                f"{self.name} ended by itself with {self.process.returncode}; its log ends:\n"
                + self.tail()
            )

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(self.patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start(
    name: str,
    command: Sequence[str],
    folder: Path,
    *,
    environ: Mapping[str, str],
    patience: float = 10.0,
) -> Running:
    """`patience` is how long it may take to end after SIGTERM before it is killed."""
    log = folder / f"{name}.log"

    def die_with_parent() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
    return Running(name, process, log, patience)


def wait_until(true: Callable[[], bool], running: Running, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        running.check()
        if time.monotonic() > deadline:
            raise BenchFailed(
                f"{running.name} was not ready within {seconds:.0f} s; its log ends:\n"
                + running.tail()
            )
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
