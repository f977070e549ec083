"""The web application: create_app builds it from settings; rules live in the rooms beside it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from app.settings import Settings, load

if TYPE_CHECKING:
    from flask import Flask  # at run time only inside create_app: gunicorn's master and the
    # commands import this package, and gevent must patch a worker before sockets are imported


def create_app(settings: Settings | None = None) -> Flask:
    """Build the Flask application; without settings they are read from the environment."""
    from werkzeug.middleware.proxy_fix import ProxyFix

    from app import api, migrating
    from app.api.document import build
    from app.bell import Bell
    from app.dispatch import Dispatch
    from app.embedded import attach
    from app.handoff.counter import Counter
    from app.handoff.terms import Terms
    from app.handoff.waiting import look_for_work
    from app.records import open_database

    settings = attach(settings or load())
    app = build()
    app.config.update(SECRET_KEY=settings.secret_key)
    app.extensions["taskyard"] = settings
    dispatch = Dispatch()
    database = open_database(settings.database_url, dispatch)
    bell = Bell(settings.redis_url, partial(look_for_work, database))
    dispatch.bell = bell
    app.extensions["taskyard.db"] = database
    app.extensions["taskyard.bell"] = bell
    terms = Terms(
        settings.secret_key, settings.execution_enabled, settings.agent_poll_interval_seconds
    )
    app.extensions["taskyard.terms"] = terms
    app.extensions["taskyard.counter"] = Counter(database, terms)
    migrating.register(app)
    api.register(app, settings)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app
