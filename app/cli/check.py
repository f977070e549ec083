"""`taskyard check`: is everything there, and if not, what to try."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import dramatiq
import orjson
import psycopg
import redis

from app import broker as brokers
from app import create_app, leader, migrating, waiting
from app.cli.finding import data_option, find, read_settings
from app.errors import TaskyardError, Unavailable
from app.settings import Settings, SettingsInvalid
from app.variables import masked

PULSE_SECONDS: Final = 3.0


class Amiss(Exception):
    """What is wrong, and what to try."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


@click.command()
@data_option
def check(data: Path | None) -> None:
    """Verify settings, database, migrations, Redis, worker and clock. Exit 1 on trouble."""
    settings: Settings | None = None

    def look_at_settings() -> str:
        nonlocal settings
        settings = find(data)
        return f"valid; data in {settings.data}"

    try:
        read_settings(data)
    except SettingsInvalid as fault:
        for each in fault.faults:
            _say(False, "settings", str(each))
        raise SystemExit(2) from fault
    fine = _look("settings", look_at_settings)
    if settings is None:
        raise SystemExit(1)
    found: Settings = settings
    if database := _look("database", lambda: look_at_database(found)):
        fine &= _look("migrations", lambda: look_at_migrations(found))
    if store := _look("redis", lambda: look_at_redis(found)):
        fine &= _look("worker", lambda: look_at_worker(found))
    if database:
        fine &= _look("clock", lambda: look_at_clock(found))
    if not (fine and database and store):
        raise SystemExit(1)


def look_at_database(settings: Settings) -> str:
    try:
        waiting.ask_database(settings.database_url)
    except Unavailable as fault:
        raise Amiss(
            f"{masked(settings.database_url)}: {fault.detail}",
            "start it, or mend DATABASE_URL",
        ) from fault
    with psycopg.connect(settings.database_url, connect_timeout=5) as connection:
        version = connection.info.server_version // 10_000
        if version < 14:
            raise Amiss(f"PostgreSQL {version}", "Taskyard needs 14 or newer")
        return f"PostgreSQL {version} at {masked(settings.database_url)}"


def look_at_migrations(settings: Settings) -> str:
    app = create_app(settings)
    now = migrating.current(app.extensions["taskyard.db"])
    newest = migrating.newest()
    if now == newest:
        return f"up to date ({newest})"
    raise Amiss(f"at {now or 'nothing'}, the newest is {newest}", "run `taskyard migrate`")


def look_at_redis(settings: Settings) -> str:
    try:
        waiting.ask_redis(settings.redis_url)
    except Unavailable as fault:
        raise Amiss(
            f"{masked(settings.redis_url)}: {fault.detail}", "start it, or mend REDIS_URL"
        ) from fault
    return f"answers at {masked(settings.redis_url)}"


def look_at_worker(settings: Settings) -> str:
    """Who beats, and whether a message that is sent now is worked on."""
    broker = brokers.connect(settings)
    try:
        beats = [
            orjson.loads(text)
            for key in broker.client.scan_iter(f"{brokers.BEATS}*")
            if (text := broker.client.get(key))
        ]
        if not beats:
            raise Amiss("none runs", "start one with `taskyard worker start`")
        who = ", ".join(f"{beat['host']}:{beat['pid']}" for beat in beats)
        word = uuid.uuid4().hex
        broker.declare_queue("default")
        broker.enqueue(
            dramatiq.Message(
                queue_name="default", actor_name="pulse", args=(word,), kwargs={}, options={}
            )
        )
        deadline = time.monotonic() + PULSE_SECONDS
        while time.monotonic() < deadline:
            if broker.client.delete(brokers.PULSES + word):
                return f"{len(beats)} at work ({who})"
            time.sleep(0.02)
        return f"{len(beats)} there, every thread busy ({who})"
    finally:
        broker.close()


def look_at_clock(settings: Settings) -> str:
    with psycopg.connect(settings.database_url, connect_timeout=5) as connection:
        if leader.is_led(connection):
            return "sweeps"
    raise Amiss("none sweeps", "start one with `taskyard clock`")


def _look(name: str, look: Callable[[], str]) -> bool:
    try:
        _say(True, name, look())
    except Amiss as fault:
        _say(False, name, f"{fault.what}; {fault.hint}")
    except TaskyardError as fault:
        _say(False, name, " ".join(filter(None, (fault.detail, fault.hint))))
    except (psycopg.Error, redis.RedisError) as fault:
        _say(False, name, f"{str(fault).splitlines()[0]}; try again")
    else:
        return True
    return False


def _say(fine: bool, name: str, words: str) -> None:
    mark = click.style("ok  ", fg="green") if fine else click.style("FAIL", fg="red")
    click.echo(f"{mark}  {name:<11} {words}")
