"""What every command has in common: which data folder is meant, and what runs on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app.embedded import attach
from app.settings import Settings, load, surroundings


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="The data folder (else TASKYARD_DATA, else the user's data folder).",
    )(command)


def read_settings(data: Path | None, **variables: str) -> Settings:
    """The settings, with what the command line says about them first."""
    said = {**surroundings(), **variables}
    if data is not None:
        said["TASKYARD_DATA"] = str(data)
    return load(said)


def find(data: Path | None) -> Settings:
    """The settings with the addresses of servers that run: our own, or those of `taskyard up`."""
    return attach(read_settings(data))
