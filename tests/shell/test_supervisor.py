"""The supervisor: children are heard, started again with a growing pause, and ended in time."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.supervisor import Child, Supervisor
from app.stopping import stopping
from tests.shell.running import until


class Ears:
    """What the supervisor passed on."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, who: str, line: str) -> None:
        self.lines.append((who, line))


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def supervisor(ears: Ears, tmp_path: Path) -> Iterator[Supervisor]:
    """One that is stopped, with its children, when the test ends."""
    supervisor = Supervisor(ears, tmp_path)
    yield supervisor
    supervisor.stop(0)
    stopping.clear()


def child(name: str, script: str) -> Child:
    return Child(name, (sys.executable, "-u", "-c", script), {"PATH": os.defpath})


def turn_until(supervisor: Supervisor, ears: Ears, words: tuple[str, str]) -> None:
    def heard() -> bool:
        supervisor.turn(0.05)
        supervisor.look_after()
        return words in ears.lines

    until(heard, f"{words} among {ears.lines}")


def test_every_line_is_passed_on_with_who_said_it(supervisor: Supervisor, ears: Ears) -> None:
    script = (
        "import sys; print('one'); print('t\\x1b[2Jwo', file=sys.stderr); sys.stdout.write('three')"
    )
    talker = child("web", script)
    supervisor.start(talker)
    assert supervisor.finish(talker) == 0
    assert ears.lines == [("web", "one"), ("web", "t�[2Jwo"), ("web", "three")]


def test_what_ends_is_started_again_and_waits_longer_each_time(
    supervisor: Supervisor, ears: Ears
) -> None:
    supervisor.start(child("clock", "import sys; sys.exit(3)"))
    turn_until(supervisor, ears, ("taskyard", "clock ended with code 3; starts again in 0.5 s"))
    turn_until(supervisor, ears, ("taskyard", "clock ended with code 3; starts again in 1 s"))


def test_a_killed_child_is_started_again(supervisor: Supervisor, ears: Ears) -> None:
    worker = child("worker", "import time; print('up'); time.sleep(60)")
    supervisor.start(worker)
    turn_until(supervisor, ears, ("worker", "up"))
    assert worker.process is not None
    first = worker.process.pid
    worker.process.kill()
    ears.lines.clear()
    turn_until(supervisor, ears, ("worker", "up"))
    assert worker.process.pid != first
    assert ("taskyard", "worker ended by signal 9; starts again in 0.5 s") in ears.lines


def test_all_are_asked_to_end_at_once_and_their_last_words_are_heard(
    supervisor: Supervisor, ears: Ears
) -> None:
    script = """
import signal, sys, time
def end(*_):
    time.sleep(0.5); print("handed back"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up")
time.sleep(60)
"""
    for name in ("web", "worker", "clock"):
        supervisor.start(child(name, script))
        turn_until(supervisor, ears, (name, "up"))
    started = time.monotonic()
    supervisor.stop(20)
    assert time.monotonic() - started < 1.4, "one after the other would take longer"
    assert {who for who, line in ears.lines if line == "handed back"} == {"web", "worker", "clock"}


def test_who_does_not_end_in_time_is_killed(supervisor: Supervisor, ears: Ears) -> None:
    deaf = child(
        "worker",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up');"
        "time.sleep(60)",
    )
    supervisor.start(deaf)
    turn_until(supervisor, ears, ("worker", "up"))
    supervisor.stop(0.3)
    assert deaf.process is not None
    assert deaf.process.returncode == -signal.SIGKILL


def test_a_signal_ends_the_wait_for_lines_at_once(supervisor: Supervisor) -> None:
    before = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
    supervisor.listen_to_signals()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        started = time.monotonic()
        supervisor.turn(20)
        assert time.monotonic() - started < 5
        assert supervisor.told == 1
        assert stopping.is_set(), "whoever waits for a server stops waiting"
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
