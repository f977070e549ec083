"""What every request passes through: its id, its limits of size, and the proof of a session."""

from __future__ import annotations

import os
import re
from typing import Final

from flask import Flask, Response, current_app, g, request
from flask_wtf.csrf import CSRFProtect, generate_csrf
from werkzeug.exceptions import NotFound

from app import logs
from app.bell import Bell
from app.db import Database
from app.handoff.counter import Counter
from app.handoff.terms import Terms
from app.settings import Settings

MEBIBYTE: Final = 1024 * 1024
LARGEST_BODY: Final = MEBIBYTE
SANE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)
UNSAFE: Final = frozenset(("POST", "PUT", "PATCH", "DELETE"))
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

csrf = CSRFProtect()  # without init_app: `begin` asks it, for every address


def settings() -> Settings:
    found: Settings = current_app.extensions["taskyard"]
    return found


def database() -> Database:
    found: Database = current_app.extensions["taskyard.db"]
    return found


def bell() -> Bell:
    found: Bell = current_app.extensions["taskyard.bell"]
    return found


def counter() -> Counter:
    found: Counter = current_app.extensions["taskyard.counter"]
    return found


def terms() -> Terms:
    found: Terms = current_app.extensions["taskyard.terms"]
    return found


def register_frame(app: Flask) -> None:
    app.config.update(
        MAX_CONTENT_LENGTH=LARGEST_BODY,
        MAX_FORM_MEMORY_SIZE=LARGEST_BODY,
        WTF_CSRF_METHODS=UNSAFE,
        WTF_CSRF_FIELD_NAME="csrf_token",
        WTF_CSRF_HEADERS=["X-CSRFToken"],
        WTF_CSRF_SSL_STRICT=True,
        WTF_CSRF_TIME_LIMIT=None,  # the token lives as long as the session it belongs to
        SESSION_COOKIE_NAME="taskyard",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=app.extensions["taskyard"].public_url.startswith("https:"),
    )
    app.jinja_env.globals["csrf_token"] = generate_csrf
    app.before_request(begin)
    app.after_request(finish)


def begin() -> None:
    """The caller's id for this request if it is a sane one, else a new one; then what may not pass.

    A browser sends its cookie whoever made it send the request: a change needs the token that only
    our own pages know. Checked here, for every address, so that no view can forget it.
    """
    environ = request.environ
    told = environ.get("HTTP_X_REQUEST_ID")
    g.request_id = told if told and SANE_ID.fullmatch(told) else new_request_id()
    logs.unbind()  # a connection that is kept alive serves one request after another
    logs.bind(request_id=g.request_id)
    sizes = current_app.extensions["taskyard.sizes"]
    if sizes and (larger := sizes.get(request.endpoint)) is not None:
        request.max_content_length = larger
    if "\0" in environ.get("PATH_INFO", ""):
        raise NotFound()  # PostgreSQL could not even look for it
    if (
        "HTTP_COOKIE" in environ
        and "HTTP_AUTHORIZATION" not in environ
        and environ["REQUEST_METHOD"] in UNSAFE
        and current_app.config["SESSION_COOKIE_NAME"] in request.cookies
    ):
        csrf.protect()


def new_request_id() -> str:
    return os.urandom(16).hex()


def finish(response: Response) -> Response:
    headers = response.headers
    headers.add("X-Request-Id", g.get("request_id") or new_request_id())
    headers.add("X-Content-Type-Options", "nosniff")
    if headers["Content-Type"].startswith("text/html"):
        headers.setdefault("Content-Security-Policy", POLICY)
        headers.setdefault("Referrer-Policy", "same-origin")
    return response
