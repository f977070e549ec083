"""How the text of a variable becomes a value. Each reader says in words what it expects."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

_SECRET_QUERY: Final = re.compile(r"([?&][^=&#]*(?:pass|secret|key|token)[^=&#]*=)[^&#]*", re.I)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one kind of value; `read` raises ValueError, `expected` ends the sentence about it."""

    read: Callable[[str], Any]
    expected: str


def whole(low: int, high: int) -> Reader:
    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,12}", text):
            raise ValueError
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return Reader(read, f"a whole number from {low} to {high}")


def one_of(words: Sequence[str]) -> Reader:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return Reader(read, f"one of {', '.join(words)}")


def _read_switch(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError


def _read_postgres(text: str) -> str:
    """Heroku says postgres://, SQLAlchemy postgresql+psycopg://; libpq wants postgresql://."""
    scheme, separator, rest = text.partition("://")
    known = ("postgres", "postgresql", "postgresql+psycopg")
    if not separator or scheme.lower() not in known:
        raise ValueError
    parts = urlsplit("postgresql://" + rest)
    _ = parts.port  # raises ValueError when it is no port
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not parts.path.strip("/") and not options.get("dbname"):
        raise ValueError
    if not parts.hostname and not options.get("host"):
        raise ValueError
    return "postgresql://" + rest


def _read_redis(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme in ("redis", "rediss"):
        _ = parts.port
        if not parts.hostname:
            raise ValueError
        if not re.fullmatch(r"/?[0-9]*", parts.path):
            raise ValueError
        return text
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return text
    raise ValueError


def _read_http(text: str) -> str:
    parts = urlsplit(text)
    _ = parts.port
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError
    return text.rstrip("/")


def _read_secret_key(text: str) -> str:
    if len(text) < 16:
        raise ValueError
    return text


def _read_folder(text: str) -> Path:
    if "\0" in text:
        raise ValueError
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # ~nobody-of-that-name
        raise ValueError from None


def _read_host(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:_-]+", text):
        raise ValueError
    return text


def _read_words(text: str) -> str:
    if not text.isprintable():
        raise ValueError
    return text


switch: Final = Reader(_read_switch, "true or false")
postgres: Final = Reader(_read_postgres, "postgresql://user:password@host:port/database")
redis: Final = Reader(_read_redis, "redis://, rediss:// or unix:// and where it is")
http: Final = Reader(_read_http, "a URL that begins with http:// or https://")
secret_key: Final = Reader(_read_secret_key, "at least 16 characters that nobody can guess")
folder: Final = Reader(_read_folder, "a folder")
host: Final = Reader(_read_host, "an address to listen on, such as 127.0.0.1 or 0.0.0.0")
words: Final = Reader(_read_words, "printable text in one line")


def without_verification(redis_url: str) -> str:
    """Heroku's Redis signs its certificate itself: with verification on, no connection succeeds."""
    parts = urlsplit(redis_url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme != "rediss" or "ssl_cert_reqs" in options:
        return redis_url
    options["ssl_cert_reqs"] = "none"
    options.setdefault("ssl_check_hostname", "false")
    return urlunsplit(parts._replace(query=urlencode(options, quote_via=quote)))


def masked(text: str) -> str:
    """The text of a URL without its password, fit to be printed, however broken it is."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        # No URL at all: it may be a password pasted into the wrong place.
        return "***"
    # The last @ before the path ends the password, which may hold an @ of its own.
    place, slash, path = rest.partition("/")
    if "@" in path and "@" not in place:
        place, slash, path = rest, "", ""
    if "@" in place:
        user, _, where = place.rpartition("@")
        name, colon, _ = user.partition(":")
        place = f"{name}{':***' if colon else ''}@{where}"
    return printable(_SECRET_QUERY.sub(r"\1***", f"{scheme}://{place}{slash}{path}"))


def printable(text: str, length: int = 120) -> str:
    """One line that a terminal can bear: no control characters, no end."""
    clean = "".join(letter if letter.isprintable() else "�" for letter in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"
