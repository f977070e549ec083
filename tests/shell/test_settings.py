"""Settings: what is read, what is refused, and what is never shown."""

from __future__ import annotations

import re
from dataclasses import fields
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import VARIABLES, Settings, SettingsInvalid, load
from app.variables import masked
from tests.shell.running import ROOT

OWN_SERVERS = {
    "DATABASE_URL": "postgres://user:canary-secret@db.example:5432/yard",
    "REDIS_URL": "rediss://:canary-secret@redis.example:6380",
    "SECRET_KEY": "canary-secret-of-some-length",
}


def faults_of(environ: dict[str, str]) -> dict[str, str]:
    with pytest.raises(SettingsInvalid) as caught:
        load(environ)
    return {fault.variable: str(fault) for fault in caught.value.faults}


def test_nothing_need_be_set() -> None:
    settings = load({})
    assert settings.embedded
    assert (settings.port, settings.web_concurrency, settings.worker_threads) == (8000, 2, 4)
    assert settings.execution_enabled
    assert settings.websocket_enabled
    assert settings.agent_poll_interval_seconds == 300
    assert settings.execution_timeout_hours == 168
    assert settings.event_log_retention_days == 90
    assert settings.public_url == "http://127.0.0.1:8000"


def test_everything_that_is_wrong_is_listed_at_once() -> None:
    faults = faults_of(
        {
            "DATABASE_URL": "mysql://user:canary-secret@db/yard",
            "PORT": "eighty",
            "WEB_CONCURRENCY": "0",
            "PLANEXE_EXECUTION_ENABLED": "perhaps",
            "HUB_URL": "ftp://hub",
            "TASKYARD_APPROVERS": "everybody",
            "TASKYARD_APROVERS": "admin",
        }
    )
    assert set(faults) == {
        "DATABASE_URL",
        "REDIS_URL",
        "SECRET_KEY",
        "PORT",
        "WEB_CONCURRENCY",
        "PLANEXE_EXECUTION_ENABLED",
        "HUB_URL",
        "TASKYARD_APPROVERS",
        "TASKYARD_APROVERS",
    }
    assert faults["PORT"] == "PORT is eighty; expected a whole number from 1 to 65535."
    assert "TASKYARD_APPROVERS, perhaps" in faults["TASKYARD_APROVERS"]
    assert "canary-secret" not in "".join(faults.values())


@pytest.mark.parametrize("missing", ["REDIS_URL", "SECRET_KEY", "DATABASE_URL"])
def test_servers_of_ones_own_need_both_addresses_and_a_key(missing: str) -> None:
    given = {name: text for name, text in OWN_SERVERS.items() if name != missing}
    assert set(faults_of(given)) == {missing}


def test_herokus_forms_are_understood() -> None:
    settings = load({**OWN_SERVERS, "DYNO": "web.1"})
    assert settings.database_url == "postgresql://user:canary-secret@db.example:5432/yard"
    # Its certificate is its own: with verification on, no connection succeeds.
    assert "ssl_cert_reqs=none" in settings.redis_url
    assert "ssl_cert_reqs" not in load(OWN_SERVERS).redis_url


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert load({name.name: " " for name in VARIABLES}) == load({})


def test_secrets_are_never_shown() -> None:
    settings = load({**OWN_SERVERS, "SENTRY_DSN": "https://canary-secret@sentry.example/1"})
    shown = dict(settings.shown())
    assert "canary-secret" not in str(shown)
    assert "canary-secret" not in repr(settings)
    assert shown["DATABASE_URL"] == "postgresql://user:***@db.example:5432/yard"
    assert shown["PORT"] == "8000"


def test_a_key_that_is_wrong_is_not_printed() -> None:
    faults = faults_of({**OWN_SERVERS, "SECRET_KEY": "canary"})
    assert "canary" not in faults["SECRET_KEY"]


def test_every_field_has_its_variable_and_every_variable_its_line_of_words() -> None:
    assert {variable.field for variable in VARIABLES} == {each.name for each in fields(Settings)}
    lines = (ROOT / ".env.example").read_text().splitlines()
    described = {}
    for before, line in pairwise(lines):
        name = line.removeprefix("#").split("=")[0]
        if "=" in line and name.isupper():
            described[name] = before
    assert set(described) == {variable.name for variable in VARIABLES}
    assert all(words.startswith("# ") for words in described.values())


def test_the_example_as_it_stands_says_the_defaults() -> None:
    given = {}
    for line in (ROOT / ".env.example").read_text().splitlines():
        name, equals, text = line.removeprefix("#").partition("=")
        if equals and name.isupper():
            given[name] = text
    for name in ("DATABASE_URL", "REDIS_URL"):
        given.pop(name)
    assert load(given) == load({})


def test_settings_written_out_are_read_again_as_they_were() -> None:
    settings = load({**OWN_SERVERS, "PLANEXE_EXECUTION_ENABLED": "no", "PORT": "80"})
    assert load(settings.environ()) == settings
    assert load(load({}).environ()) == load({})


def test_only_settings_read_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("app", "actors")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bos\.environ|getenv|from os import", path.read_text())
    }
    assert readers == {"app/settings.py"}


@given(st.dictionaries(st.sampled_from([v.name for v in VARIABLES]), st.text(max_size=40)))
def test_whatever_is_set_gives_settings_or_sentences(environ: dict[str, str]) -> None:
    try:
        settings = load(environ)
    except SettingsInvalid as invalid:
        faults = invalid.faults
    else:
        assert 1 <= settings.port <= 65535
        assert settings.data.is_absolute()
        return
    assert faults
    for fault in faults:
        assert str(fault).isprintable(), "a fault is one line that a terminal can bear"


@given(
    password=st.text(min_size=8, max_size=30).filter(lambda text: len(set(text)) > 4),
    scheme=st.sampled_from(["postgres", "redis", "https", "nonsense"]),
)
def test_a_password_in_a_url_is_masked_however_it_is_spelt(password: str, scheme: str) -> None:
    for spelt in (password, quote(password, safe="")):
        shown = masked(f"{scheme}://user:{spelt}@host:1/path")
        assert spelt not in shown
    assert password not in masked(f"{scheme}://host/path?password={quote(password, safe='')}")


@given(st.integers())
def test_a_port_is_one_that_exists(port: int) -> None:
    if 1 <= port <= 65535:
        assert load({"PORT": str(port)}).port == port
    else:
        assert set(faults_of({"PORT": str(port)})) == {"PORT"}
