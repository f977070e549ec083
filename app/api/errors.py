"""The one map from what can be refused to problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from typing import Any, Final

import orjson
import psycopg
import sqlalchemy as sa
from flask import Flask, Response, g
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app import errors

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[dict[type[errors.TaskyardError], int]] = {
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.Missing: 404,
    errors.Refused: 409,
    errors.Invalid: 422,
    errors.TooMany: 429,
    errors.Unavailable: 503,
}

# What werkzeug refuses by itself: title and what to try.
KNOWN: Final[dict[int, tuple[str, str]]] = {
    400: ("Unreadable request", "Check the body and the headers; /api/docs shows examples."),
    404: ("Not found", "Check the address; /api/docs lists every one."),
    405: ("Method not allowed", "The header Allow lists the methods that this address takes."),
    413: ("Too large", "Send less at once."),
    415: ("Unsupported media type", "Send JSON with the header Content-Type: application/json."),
    429: ("Too many requests", "Wait as long as Retry-After says."),
}


def register_errors(app: Flask) -> None:
    app.register_error_handler(errors.TaskyardError, answer_refusal)
    app.register_error_handler(CSRFError, answer_csrf)
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(sa.exc.DataError, answer_data)
    app.register_error_handler(psycopg.DataError, answer_data)
    app.register_error_handler(Exception, answer_fault)


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    hint: str | None = None,
    faults: tuple[errors.Fault, ...] = (),
    headers: dict[str, str] | None = None,
    facts: dict[str, Any] | None = None,
) -> Response:
    document: dict[str, Any] = dict(facts or {})
    document |= {
        "type": "urn:taskyard:problem:" + title.lower().rstrip("?").replace(" ", "-"),
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": g.get("request_id", ""),
    }
    if hint:
        document["hint"] = hint
    if faults:
        document["errors"] = [{"pointer": f.pointer, "detail": f.detail} for f in faults]
    return Response(
        orjson.dumps(document, default=str),
        status=status,
        headers=headers,
        content_type=MEDIA_TYPE,
    )


def problem_of(refusal: errors.TaskyardError) -> tuple[int, dict[str, Any]]:
    """A refusal as a problem document inside an answer of several."""
    answered = answer_refusal(refusal)
    return answered.status_code, orjson.loads(answered.get_data())


def answer_refusal(refusal: errors.TaskyardError) -> Response:
    status = next((STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS), 500)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="taskyard"'
    facts = dict(refusal.facts)
    headers |= facts.pop("headers", {})
    if status in (429, 503):
        headers["Retry-After"] = str(facts.setdefault("retry_after", 2))
    if status >= 500:
        log.warning("%s", refusal.detail, exc_info=refusal.__cause__)
    return problem(
        status,
        refusal.title,
        refusal.detail,
        hint=refusal.hint,
        faults=refusal.faults if isinstance(refusal, errors.Invalid) else (),
        headers=headers,
        facts=facts,
    )


def answer_csrf(refusal: CSRFError) -> Response:
    return problem(
        403,
        "Not allowed",
        f"This change came with a session and without its proof: {refusal.description}",
        hint="Send the page's token in the header X-CSRFToken, or call with a token of your own.",
    )


def answer_http(refusal: HTTPException) -> HTTPException | Response:
    if refusal.response is not None or refusal.code is None or refusal.code < 400:
        return refusal  # a redirect, or an answer that somebody built with care
    title, hint = KNOWN.get(refusal.code, (refusal.name, None))
    headers = {}
    if isinstance(refusal, MethodNotAllowed) and refusal.valid_methods:
        headers["Allow"] = ", ".join(sorted(refusal.valid_methods))
    detail = refusal.description or refusal.name
    if refusal.code == 404 and type(refusal).description == detail:
        detail = "There is nothing at this address."
    elif refusal.code == 405:
        detail = "This address does not take that method."
    elif refusal.code == 413:
        detail = "The body is larger than this address takes."
    return problem(refusal.code, title, detail, hint=hint, headers=headers)


def answer_data(fault: Exception) -> Response:
    """A value that the database cannot hold. Types should have refused it: hence the log line."""
    log.error("a value got past its type: %s", type(fault).__name__, exc_info=fault)
    return problem(
        422,
        "Invalid input",
        "A value is too large or cannot be stored.",
        hint="Look for very large numbers, or times far away.",
    )


def answer_fault(fault: Exception) -> Response:
    """Ours. Nothing of it goes out but the id under which the log has the rest."""
    log.error("unexpected fault in request %s", g.get("request_id", "-"), exc_info=fault)
    return problem(
        500,
        "Something went wrong",
        "The server could not do this, and it is the server's fault.",
        hint="Try again; if it stays, tell an admin the request_id.",
    )
