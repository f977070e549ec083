"""What processes say: JSON lines for machines, plain lines for a terminal, no secret in either."""

from __future__ import annotations

import datetime as dt
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

import orjson

from app.settings import Settings

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Terminals act on these; a line that holds one can repaint what stands above it.
_ESCAPES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[@-_]?|\x9b[0-?]*[ -/]*[@-~]",
    re.DOTALL,
)
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_bound: ContextVar[dict[str, str] | None] = ContextVar("bound", default=None)


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Every line said inside carries these fields: request_id, execution, job, agent."""
    token = _bound.set({**(_bound.get() or {}), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def bind(**fields: str) -> None:
    """The same until `unbind`, for entries that have a beginning and an end of their own."""
    _bound.set({**(_bound.get() or {}), **fields})


def unbind() -> None:
    _bound.set(None)


def configure(settings: Settings, process: str) -> None:
    """Send everything this process says to its standard output, in one form."""
    handler = logging.StreamHandler(sys.stdout)
    form = settings.log_format
    if form == "auto":
        form = "text" if sys.stdout.isatty() else "json"
    handler.setFormatter(Line(process, form, secrets_of(settings)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Each tells of every job or connection at INFO.
    for chatty in ("apscheduler", "alembic.runtime.plugins", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """What must never be printed, whoever tries."""
    passwords = [
        urlsplit(url).password or "" for url in (settings.database_url, settings.redis_url)
    ]
    found = {settings.secret_key, settings.sentry_dsn, *passwords, *map(unquote, passwords)}
    return tuple(sorted((each for each in found if len(each) >= 6), key=len, reverse=True))


class Line(logging.Formatter):
    """One record, one line: neither its words nor its fields can begin another."""

    def __init__(
        self, process: str, form: Literal["json", "text"], secrets: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.process = process
        self.form = form
        spelled = {orjson.dumps(each).decode()[1:-1] for each in secrets}
        self.secrets = (*secrets, *(spelled - set(secrets)))

    def format(self, record: logging.LogRecord) -> str:
        fields = {**(_bound.get() or {}), **_extras(record)}
        line = self._json(record, fields) if self.form == "json" else self._text(record, fields)
        for secret in self.secrets:
            line = line.replace(secret, "***")
        return line

    def _json(self, record: logging.LogRecord, fields: dict[str, Any]) -> str:
        said: dict[str, Any] = {
            "time": _when(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self.process,
            "logger": record.name,
            "message": _clean(record.getMessage()),
        }
        said.update((name, _plain(value)) for name, value in fields.items() if name not in said)
        if record.exc_info:
            said["exception"] = [_clean(each) for each in self._trace(record)]
        return orjson.dumps(said, default=str, option=orjson.OPT_NON_STR_KEYS).decode()

    def _text(self, record: logging.LogRecord, fields: dict[str, Any]) -> str:
        about = "".join(f" {_clean(name)}={_plain(value)}" for name, value in fields.items())
        head = f"{_when(record):%H:%M:%S} {record.levelname.lower():<7} "
        lines = [f"{head}{_clean(record.getMessage())}{about}"]
        if record.exc_info:
            lines += [f"    {_clean(each)}" for each in self._trace(record)]
        return "\n".join(lines)

    def _trace(self, record: logging.LogRecord) -> list[str]:
        assert record.exc_info
        return self.formatException(record.exc_info).splitlines()


def _when(record: logging.LogRecord) -> dt.datetime:
    return dt.datetime.fromtimestamp(record.created, dt.UTC)


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {_clean(str(name)): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return _clean(str(value))


def _clean(text: str) -> str:
    """Without terminal commands, and with line ends and other controls made visible."""
    text = _ESCAPES.sub("", text)
    text = _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
    # Half a surrogate pair cannot be written out.
    return text.encode("utf-8", "backslashreplace").decode()
