"""What every request passes through: its id, its limits of size, and the proof of a session."""

from __future__ import annotations

import re
import uuid
from typing import Final

from flask import Flask, Response, current_app, g, request
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import NotFound

from app.bell import Bell
from app.db import Database
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

csrf = CSRFProtect()


def settings() -> Settings:
    found: Settings = current_app.extensions["taskyard"]
    return found


def database() -> Database:
    found: Database = current_app.extensions["taskyard.db"]
    return found


def bell() -> Bell:
    found: Bell = current_app.extensions["taskyard.bell"]
    return found


def terms() -> Terms:
    found: Terms = current_app.extensions["taskyard.terms"]
    return found


def register_frame(app: Flask) -> None:
    app.config.update(
        MAX_CONTENT_LENGTH=LARGEST_BODY,
        MAX_FORM_MEMORY_SIZE=LARGEST_BODY,
        WTF_CSRF_CHECK_DEFAULT=False,  # `prove_session` does, for every address alike
        WTF_CSRF_TIME_LIMIT=None,  # the token lives as long as the session it belongs to
        SESSION_COOKIE_NAME="taskyard",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=app.extensions["taskyard"].public_url.startswith("https:"),
    )
    csrf.init_app(app)
    app.before_request(take_id)
    app.before_request(prove_session)
    app.after_request(finish)


def take_id() -> None:
    """The caller's id for this request if it is a sane one, else a new one."""
    told = request.environ.get("HTTP_X_REQUEST_ID")
    g.request_id = told if told and SANE_ID.fullmatch(told) else uuid.uuid4().hex
    if "\0" in request.environ.get("PATH_INFO", ""):
        raise NotFound()  # PostgreSQL could not even look for it


def prove_session() -> None:
    """A browser sends its cookie whoever made it send the request: a change needs the token that
    only our own pages know. Checked for every address, so that no view can forget it."""
    if request.method not in UNSAFE or "HTTP_AUTHORIZATION" in request.environ:
        return
    if current_app.config["SESSION_COOKIE_NAME"] in request.cookies:
        csrf.protect()


def finish(response: Response) -> Response:
    headers = response.headers
    headers["X-Request-Id"] = g.get("request_id") or uuid.uuid4().hex
    headers["X-Content-Type-Options"] = "nosniff"
    if response.mimetype == "text/html":
        headers.setdefault("Content-Security-Policy", POLICY)
        headers.setdefault("Referrer-Policy", "same-origin")
    return response
