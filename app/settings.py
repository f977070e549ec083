"""What can be set from outside: read once, typed, frozen. Nothing else reads the environment."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import platformdirs
from dotenv import dotenv_values

from app import variables
from app.variables import Reader, masked, printable


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, valid. `database_url` and `redis_url` are empty while servers are embedded
    and not yet found: `app.embedded.attach` fills them in from the running instance."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    data: Path
    host: str
    port: int
    public_url: str
    web_concurrency: int
    worker_threads: int
    trusted_proxies: int
    rate_limits: bool
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["auto", "json", "text"]
    approvers: Literal["admin", "operator", "owner"]
    sentry_dsn: str = field(repr=False)
    hub_url: str
    execution_enabled: bool
    agent_poll_interval_seconds: int
    execution_timeout_hours: int
    decomposition_model: str
    websocket_enabled: bool
    event_log_retention_days: int

    @property
    def embedded(self) -> bool:
        """Whether the servers are ours to start: no DATABASE_URL was given."""
        return not self.database_url

    @property
    def limits_url(self) -> str:
        """The Redis URL as the `limits` library spells it."""
        return f"redis+{self.redis_url}" if self.redis_url.startswith("unix:") else self.redis_url

    def with_servers(self, database_url: str, redis_url: str, secret_key: str) -> Settings:
        return replace(
            self,
            database_url=database_url,
            redis_url=redis_url,
            secret_key=self.secret_key or secret_key,
        )

    def environ(self) -> dict[str, str]:
        """The environment from which exactly these settings are read again."""
        return {each.name: each.write(getattr(self, each.field)) for each in VARIABLES}

    def shown(self) -> list[tuple[str, str]]:
        """Every variable with the value in force, secrets masked, for people to read."""
        return [(each.name, each.show(getattr(self, each.field))) for each in VARIABLES]


Mask = Literal["", "url", "whole"]


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: the field that it fills, how it is read, what it is without."""

    name: str
    field: str
    reader: Reader
    default: Any = ""
    mask: Mask = ""

    def write(self, value: Any) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    def show(self, value: Any) -> str:
        text = self.write(value)
        if not text or not self.mask:
            return printable(text)
        return masked(text) if self.mask == "url" else "***"


VARIABLES: Final = (
    Variable("DATABASE_URL", "database_url", variables.postgres, mask="url"),
    Variable("REDIS_URL", "redis_url", variables.redis, mask="url"),
    Variable("SECRET_KEY", "secret_key", variables.secret_key, mask="whole"),
    Variable("PORT", "port", variables.whole(1, 65535), 8000),
    Variable("WEB_CONCURRENCY", "web_concurrency", variables.whole(1, 64), 2),
    Variable("SENTRY_DSN", "sentry_dsn", variables.http, mask="whole"),
    Variable("HUB_URL", "hub_url", variables.http, mask="url"),
    Variable("PLANEXE_EXECUTION_ENABLED", "execution_enabled", variables.switch, True),
    Variable(
        "PLANEXE_AGENT_POLL_INTERVAL_SECONDS",
        "agent_poll_interval_seconds",
        variables.whole(1, 86_400),
        300,
    ),
    Variable(
        "PLANEXE_EXECUTION_TIMEOUT_HOURS",
        "execution_timeout_hours",
        variables.whole(1, 8_784),
        168,
    ),
    Variable("PLANEXE_DECOMPOSITION_MODEL", "decomposition_model", variables.words),
    Variable("PLANEXE_WEBSOCKET_ENABLED", "websocket_enabled", variables.switch, True),
    Variable(
        "PLANEXE_EVENT_LOG_RETENTION_DAYS",
        "event_log_retention_days",
        variables.whole(1, 36_500),
        90,
    ),
    Variable("TASKYARD_DATA", "data", variables.folder, None),
    Variable("TASKYARD_HOST", "host", variables.host, "127.0.0.1"),
    Variable("TASKYARD_PUBLIC_URL", "public_url", variables.http),
    Variable("TASKYARD_WORKER_THREADS", "worker_threads", variables.whole(1, 256), 4),
    Variable("TASKYARD_TRUSTED_PROXIES", "trusted_proxies", variables.whole(0, 10), 0),
    Variable("TASKYARD_RATE_LIMITS", "rate_limits", variables.switch, True),
    Variable(
        "TASKYARD_LOG_LEVEL",
        "log_level",
        variables.one_of(("debug", "info", "warning", "error")),
        "info",
    ),
    Variable(
        "TASKYARD_LOG_FORMAT", "log_format", variables.one_of(("auto", "json", "text")), "auto"
    ),
    Variable(
        "TASKYARD_APPROVERS",
        "approvers",
        variables.one_of(("admin", "operator", "owner")),
        "admin",
    ),
)


@dataclass(frozen=True, slots=True)
class SettingFault:
    """One variable that cannot be used: its value (masked) and what is expected."""

    variable: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.variable} is {self.value or 'missing'}; expected {self.expected}."


class SettingsInvalid(Exception):
    """The environment cannot be used; `faults` lists everything that is wrong with it."""

    def __init__(self, faults: Sequence[SettingFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting; without a mapping, from `.env` and the environment."""
    if environ is None:
        environ = surroundings()
    given = {name: text.strip() for name, text in environ.items() if text.strip()}
    values: dict[str, Any] = {}
    faults: list[SettingFault] = []
    for variable in VARIABLES:
        text = given.get(variable.name)
        if text is None:
            values[variable.field] = variable.default
            continue
        try:
            values[variable.field] = variable.reader.read(text)
        except ValueError:
            shown = variable.show(text)
            faults.append(SettingFault(variable.name, shown, variable.reader.expected))
    faults += _find_missing(given)
    faults += _find_unknown(given)
    if faults:
        raise SettingsInvalid(faults)
    if "DYNO" in given:
        values["redis_url"] = variables.without_verification(values["redis_url"])
    values["data"] = values["data"] or default_data()
    values["public_url"] = values["public_url"] or f"http://127.0.0.1:{values['port']}"
    return Settings(**values)


def surroundings() -> dict[str, str]:
    """The environment, and below it what `.env` of the current folder says."""
    written = {name: text for name, text in dotenv_values(".env").items() if text is not None}
    return {**written, **os.environ}


def default_data() -> Path:
    """The user's data folder. Root's own is closed to the account that must run PostgreSQL."""
    if os.name == "posix" and os.geteuid() == 0:
        return Path("/var/lib/taskyard")
    return platformdirs.user_data_path("taskyard", appauthor=False)


def _find_missing(given: Mapping[str, str]) -> list[SettingFault]:
    """With servers of one's own, both and a key that every process shares must be named."""
    if "DATABASE_URL" not in given and "REDIS_URL" not in given:
        return []
    together = {
        "DATABASE_URL": f"{variables.postgres.expected}, because REDIS_URL is set",
        "REDIS_URL": f"{variables.redis.expected}, because DATABASE_URL is set",
        "SECRET_KEY": f"{variables.secret_key.expected}, because the servers are your own",
    }
    return [SettingFault(name, "", why) for name, why in together.items() if name not in given]


def _find_unknown(given: Mapping[str, str]) -> list[SettingFault]:
    """A misspelt variable would silently leave its default in force."""
    known = [variable.name for variable in VARIABLES]
    faults = []
    for name in sorted(given):
        if name.startswith("TASKYARD_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"{near[0]}, perhaps" if near else "a variable that .env.example lists"
            faults.append(SettingFault(printable(name), "unknown", hint))
    return faults
