"""`taskyard demo`: the plan is carried out, again, and after everything was killed."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.examples.yard import READY, run
from tests.shell.running import ROOT, TASKYARD, Running, until

CARRIED_OUT = "The plan is carried out: 40 jobs"
BARE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@contextmanager
def demo(data: Path, *options: str) -> Iterator[Running]:
    command = (*TASKYARD, "demo", "--data", str(data), "--port", "0", *options)
    with Running(command, data.parent) as running:
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.end(seconds=40)


def execution_of(running: Running) -> str:
    [line] = [line for line in running.lines if "All of it: " in line]
    return line.rpartition("/")[2]


def test_it_completes_twice_and_after_everything_was_killed(folder: Path) -> None:
    data = folder / "data"
    with demo(data) as first:
        first.wait_for("done (demo")
        family = psutil.Process(first.pid).children(recursive=True)
        names = {" ".join(each.cmdline()) for each in family}
        assert any("generic_agent.py" in name for name in names)
        assert any("prospecting_agent.py" in name for name in names)
        first.wait_for("10/40")
        for process in (psutil.Process(first.pid), *family):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        first.wait()
        assert psutil.wait_procs(family, timeout=10)[1] == []

    with demo(data) as second:
        line = second.wait_for("Takes up “Move the office to Harbour Street” where it was left", 60)
        done = int(line.split(": ")[1].split()[0])
        assert 9 <= done < 40
        second.wait_for(CARRIED_OUT, 60)
        assert second.wait(40) == 0, second.said
    assert "Traceback" not in second.said

    with demo(data) as third:
        url = third.wait_for(READY, 60).removeprefix(READY)
        documents = third.wait_for("The API, to read and to try:").split()[-1]
        assert documents == f"{url}/api/docs"
        assert httpx.get(documents).status_code == 200
        words = third.wait_for("A token of your own for it:").partition("taskyard ")[2].split()
        assert run(data, *words).startswith("ty_u_")
        third.wait_for("Carries out “Move the office to Harbour Street”: 40 jobs.")
        third.wait_for(CARRIED_OUT, 60)
        assert third.wait(40) == 0, third.said
    assert execution_of(second) != execution_of(third)
    assert not (data / "instance.json").exists(), "it ended cleanly, all of it"


def test_on_a_terminal_it_shows_bars_and_stays_up_until_it_is_told(folder: Path) -> None:
    ours, theirs = pty.openpty()
    command = (*TASKYARD, "demo", "--data", str(folder / "data"), "--port", "0")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(ours, said), daemon=True)
    reader.start()

    def shown() -> str:
        return BARE.sub("", b"".join(said).decode(errors="replace"))

    try:
        until(lambda: "All of it" in shown(), "the bars are drawn", 60)
        until(lambda: CARRIED_OUT in shown(), "the plan is carried out", 90)
        until(lambda: "Everything stays up until Ctrl-C" in shown(), "it says that it stays")
        url = re.search(r"Taskyard is ready at (\S+)", shown())
        assert url is not None
        assert httpx.get(f"{url[1]}/api/ready").status_code == 200
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
        assert psutil.wait_procs(family, timeout=1)[1] == []
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(5)
        os.close(ours)
    for phase in ("Know what we have", "Decide how to move", "Prepare", "Settle in and close"):
        assert phase in shown()
    assert "40/40" in shown()
    assert "Traceback" not in shown()


def read_all(terminal: int, said: list[bytes]) -> None:
    with suppress(OSError):  # the other side was closed
        while said_now := os.read(terminal, 65536):
            said.append(said_now)
