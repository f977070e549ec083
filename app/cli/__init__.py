"""The taskyard command. Each room of it is a file, imported when one of its commands is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

import click

from app.errors import TaskyardError
from app.settings import SettingsInvalid
from app.version import VERSION

# name: (module, what `taskyard --help` says). The module has a click command of that name.
COMMANDS: Final = {
    "up": ("app.cli.up", "Start everything in the foreground, and end it with Ctrl-C."),
    "demo": ("app.cli.demo", "The same, with a sample plan and two sample agents at work."),
    "check": ("app.cli.check", "Verify settings, database, migrations, Redis, worker, clock."),
    "migrate": ("app.cli.migrate", "Bring the database up to date."),
    "user": ("app.cli.users", "Create users."),
    "token": ("app.cli.users", "Make personal tokens."),
    "openapi": ("app.cli.openapi", "Print the OpenAPI document of the HTTP API."),
    "web": ("app.cli.processes", "Start the web process alone."),
    "worker": ("app.cli.processes", "Start a worker alone."),
    "clock": ("app.cli.processes", "Start the clock alone."),
}


class Rooms(click.Group):
    """Imports a command when it is called, and tells what went wrong in one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsInvalid as fault:
            raise Misset("\n".join(map(str, fault.faults))) from fault
        except TaskyardError as fault:
            raise Told(" ".join(filter(None, (fault.detail, fault.hint)))) from fault


class Told(click.ClickException):
    """A sentence for whoever typed the command; exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(self.message, file=file or sys.stderr)


class Misset(Told):
    """The same for settings that cannot be used."""

    exit_code = 2


@click.group(cls=Rooms)
@click.version_option(VERSION, message="%(prog)s %(version)s")
def main() -> None:
    """Taskyard executes plans with agents."""
