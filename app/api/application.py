"""The Flask application, without what an agent's call would pay for and never use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.openapi import OpenAPI


class CookieSessions(SecureCookieSessionInterface):
    """Flask's own. Without a cookie it makes no signer, which is a tenth of a small request."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if "HTTP_COOKIE" not in request.environ:
            return self.session_class()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified or session:
            super().save_session(app, session, response)


class Application(OpenAPI):
    session_interface = CookieSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No view here is a coroutine; Flask would look at each of them in each request."""
        return func

    def register_api(self, api: APIBlueprint, **options: Any) -> None:
        """Two rooms may have doors at one address: the document keeps the methods of both."""
        for uri, known in self.paths.items():
            if uri in api.paths:
                methods = known.model_dump(exclude_none=True).keys()
                both = {name: getattr(known, name) for name in methods}
                api.paths[uri] = api.paths[uri].model_copy(update=both)
        super().register_api(api, **options)
