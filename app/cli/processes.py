"""`taskyard web`, `worker start` and `clock`: one process each, as the Procfile starts them.

Each command becomes the process that it starts: no parent stands between it and its signals.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from app.cli.finding import data_option, find
from app.settings import Settings, surroundings

ROOT: Final = Path(__file__).resolve().parent.parent.parent

# -P: a folder called app where the command was typed is not ours.
PYTHON: Final = (sys.executable, "-P", "-m")
WEB: Final = (*PYTHON, "gunicorn", "--config", str(ROOT / "gunicorn.conf.py"))
WSGI: Final = ("--chdir", str(ROOT), "wsgi:app")
WORKER: Final = (*PYTHON, "actors")
CLOCK: Final = (*PYTHON, "app.clock")


def surroundings_of(settings: Settings) -> dict[str, str]:
    """The environment of a process that reads exactly these settings, whatever `.env` it finds."""
    given = surroundings()
    path = os.pathsep.join(filter(None, (str(ROOT), given.get("PYTHONPATH"))))
    return {**given, **settings.environ(), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


@click.command()
@data_option
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on (else PORT).")
def web(data: Path | None, port: int | None) -> None:
    """Start the web process alone."""
    settings = find(data)
    bind = ("--bind", f"{settings.host}:{port}") if port else ()
    _become((*WEB, *bind, *WSGI), surroundings_of(settings))


@click.command()
@data_option
def clock(data: Path | None) -> None:
    """Start the clock alone. Of several, one sweeps and the others stand by."""
    _become(CLOCK, surroundings_of(find(data)))


@click.group()
def worker() -> None:
    """Built-in workers."""


@worker.command()
@data_option
def start(data: Path | None) -> None:
    """Start a worker alone."""
    _become(WORKER, surroundings_of(find(data)))


def _become(command: tuple[str, ...], environ: Mapping[str, str]) -> None:
    sys.stdout.flush()
    os.execve(command[0], command, environ)
