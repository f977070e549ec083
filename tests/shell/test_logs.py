"""Logs: one record, one line, whatever it holds; no secret in it."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.logs import Line, bind, bound, secrets_of, unbind
from app.settings import load

FORMS: list[Literal["json", "text"]] = ["json", "text"]
any_text = st.text(st.characters(), max_size=80)


def line(form: Literal["json", "text"], message: str, *args: object, **extra: object) -> str:
    record = logging.getLogger("room").makeRecord(
        "room", logging.INFO, "file.py", 1, message, args, None, extra=extra
    )
    return Line("web", form).format(record)


@given(any_text, any_text)
@pytest.mark.parametrize("form", FORMS)
def test_no_text_from_outside_begins_a_line_or_commands_a_terminal(
    form: Literal["json", "text"], message: str, value: str
) -> None:
    written = line(form, "%s", message, job=value)
    assert len(written.splitlines()) == 1
    assert written.isprintable() or not any(ord(letter) < 32 for letter in written)
    assert "\x1b" not in written
    written.encode()
    if form == "json":
        assert orjson.loads(written)["process"] == "web"


@pytest.mark.parametrize("form", FORMS)
def test_terminal_commands_are_taken_out(form: Literal["json", "text"]) -> None:
    written = line(form, "a\x1b[31mred\x1b[0m b\x1b]0;title\x07c\r\nINFO forged", agent="x\x9b2Jy")
    assert "redb" not in written
    assert "ared bc" in written
    assert "[31m" not in written
    assert "title" not in written
    assert "2J" not in written


def test_fields_stand_beside_the_message_and_cannot_replace_what_is_known() -> None:
    with bound(request_id="r-1"):
        said = orjson.loads(line("json", "leased", job="j-1", level="critical"))
    assert said["message"] == "leased"
    assert said["level"] == "info"
    assert (said["request_id"], said["job"]) == ("r-1", "j-1")
    bind(request_id="r-2")
    assert "request_id=r-2" in line("text", "leased")
    unbind()
    assert "request_id" not in line("text", "leased")


@pytest.mark.parametrize("form", FORMS)
def test_a_trace_cannot_forge_a_line(form: Literal["json", "text"]) -> None:
    try:
        raise ValueError("bad\n2026 error forged\x1b[2J")
    except ValueError:
        record = logging.getLogger("room").makeRecord(
            "room", logging.ERROR, "file.py", 1, "failed", (), sys.exc_info()
        )
    written = Line("web", form).format(record)
    lines = written.splitlines()
    assert "\x1b" not in written
    if form == "json":
        assert len(lines) == 1
        assert "ValueError: bad" in orjson.loads(written)["exception"]
    else:
        assert all(each.startswith("    ") for each in lines[1:])


@pytest.mark.parametrize("form", FORMS)
def test_secrets_of_the_settings_are_never_written(form: Literal["json", "text"]) -> None:
    settings = load(
        {
            "DATABASE_URL": "postgres://u:canary%2Fone%22x@h/d",
            "REDIS_URL": "redis://:canary-two@h",
            "SECRET_KEY": "canary-three-is-longer",
            "SENTRY_DSN": "https://canary-four@sentry.example/1",
        }
    )
    words = 'canary%2Fone%22x canary/one"x canary-two canary-three-is-longer'
    record = logging.makeLogRecord(
        {
            "msg": words,
            "levelname": "INFO",
            "url": settings.database_url,
            "dsn": settings.sentry_dsn,
        }
    )
    assert "canary" not in Line("web", form, secrets_of(settings)).format(record)
