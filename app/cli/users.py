"""`taskyard user …` and `taskyard token …`: people and their tokens, from beside the data."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import app.records  # noqa: F401  # a token refers to agents: SQLAlchemy must know every table
from app.accounts import audit, passwords, tokens, users
from app.accounts.models import ROLES
from app.accounts.policy import Caller, on_the_machine
from app.cli.finding import data_option, find
from app.db import Transaction
from app.dispatch import Dispatch
from app.errors import Missing, Refused
from app.records import open_database


@click.group()
def user() -> None:
    """Create users."""


@user.command("create")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), default="member", show_default=True)
@click.option("--name", default="", help="How people call them.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--no-password", is_flag=True, help="Ask for none: they sign in by link.")
@data_option
def create_user(
    email: str, role: str, name: str, password_stdin: bool, no_password: bool, data: Path | None
) -> None:
    """Create a user.

    Asks for a password, which may be left empty: then they sign in by link. Without a terminal to
    ask on, there is none unless --password-stdin gives it.
    """
    users.check_email(email.strip())
    password = read_password(password_stdin, no_password)
    hashed = passwords.hash_password(password) if password else None
    with transaction(data) as tx:
        made = users.create(
            tx, operating(), email=email, role=role, name=name, password_hash=hashed
        )
    how = "with a password" if hashed else "without a password"
    click.echo(f"Created {made.role} {made.email}, {how}.")


@click.group()
def token() -> None:
    """Make personal tokens."""


@token.command("create")
@click.argument("email")
@click.option("--name", default="command line", show_default=True, help="What it is for.")
@data_option
def create_token(email: str, name: str, data: Path | None) -> None:
    """Make a personal token for a user and print it, alone, this once."""
    with transaction(data) as tx:
        owner = users.find(tx, email)
        if owner is None:
            raise Missing(
                f"There is no user {email}.", hint=f"Create one: taskyard user create {email}"
            )
        if not owner.active:
            raise Refused(f"The user {email} is deactivated.", hint="Ask an admin.")
        record, key = tokens.issue(tx, "user", owner.id, name)
        audit.record(
            tx, operating(), "token_created", "token", record.id, after={"prefix": record.prefix}
        )
    click.echo(key)


def read_password(from_stdin: bool, none: bool) -> str:
    if none:
        return ""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        return ""
    password: str = click.prompt(
        "Password (empty: sign in by link)", hide_input=True, default="", show_default=False
    )
    if password:
        passwords.check_password(password)
        click.prompt(
            "The same again", hide_input=True, value_proc=lambda again: confirm(password, again)
        )
    return password


def confirm(password: str, again: str) -> str:
    if again != password:
        raise click.UsageError("The two are not the same.")
    return again


def operating() -> Caller:
    return on_the_machine(getpass.getuser())


@contextmanager
def transaction(data: Path | None) -> Iterator[Transaction]:
    """One transaction on the running instance, or on the database that is configured."""
    database = open_database(find(data).database_url, Dispatch(), pool_size=1)
    try:
        with database.transaction() as tx:
            yield tx
    finally:
        database.engine.dispose()
