"""The OpenAPI document: made from the types of the routes, so it cannot say anything else."""

from __future__ import annotations

from typing import Any, Final, cast

from flask import Flask
from flask_openapi.models.info import Info
from flask_openapi.models.security_scheme import SecurityScheme
from flask_openapi.openapi import OpenAPI

from app.api.application import Application
from app.api.wire import Problem
from app.version import VERSION

ABOUT: Final = """\
Taskyard executes plans with agents. An agent needs two calls: `GET /api/agents/{agent_id}/work`
to be handed work, and `POST /api/executions/{execution_id}/events` to report on it.

Send JSON in UTF-8, at most 1 MiB. Unknown fields are refused by name; numbers are numbers and text
is text (`1.0` passes for the whole number 1, `"1"` does not). Times are RFC 3339 and answered in
UTC. Errors are problem documents (RFC 9457): `errors` has a pointer for each bad field, `hint` says
what to try. Every answer carries `X-Request-Id`; send one of your own and it is kept. Lists take
`limit` and `cursor` and answer `{items, next_cursor}`. Over the rate limit, 429 says how long to
wait in `Retry-After`.
"""

SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An agent's key (ty_a_…), a personal token (ty_u_…) or a JWT from"
        " POST /api/auth/token",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "taskyard",
        "description": "A signed-in browser; each change also needs the header X-CSRFToken",
    },
}


def build() -> Application:
    """The app that collects the document while rooms are registered."""
    app = Application(
        "app",
        info=Info(title="Taskyard", version=VERSION, description=ABOUT),
        security_schemes={
            name: SecurityScheme.model_validate(scheme) for name, scheme in SCHEMES.items()
        },
        openapi_extensions={"security": [{name: []} for name in SCHEMES]},
        validation_error_model=Problem,
        doc_ui=False,
        template_folder="../templates",
    )
    app.openapi_version = "3.1.1"
    return app


def document(app: Flask) -> dict[str, Any]:
    return cast(dict[str, Any], cast(OpenAPI, app).api_doc)
