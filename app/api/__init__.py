"""The JSON rooms, and the frame around them."""

from __future__ import annotations

from flask_openapi.openapi import OpenAPI

from app.api.room import Room
from app.settings import Settings


def register(app: OpenAPI, settings: Settings) -> None:
    """Put the frame and every room into the app."""
    from app.api import errors, frame, limits, reference, sessions

    app.extensions["taskyard.sizes"] = {}
    app.extensions["taskyard.limits"] = limits.Limits(settings.limits_url, settings.rate_limits)
    frame.register_frame(app)
    sessions.register_sessions(app)
    errors.register_errors(app)
    for room in rooms():
        app.register_api(room.blueprint)
    app.register_blueprint(reference.pages)


def rooms() -> list[Room]:
    """Every room with JSON doors, in the order of the document."""
    from app.api import (
        admin,
        agents,
        audit,
        auth,
        checkpoints,
        executions,
        health,
        history,
        jobs,
        plans,
        shares,
        sockets,
        streams,
        tokens,
        work,
    )

    return [
        agents.room,
        work.room,
        plans.room,
        executions.room,
        jobs.room,
        history.room,
        streams.room,
        sockets.room,
        shares.room,
        checkpoints.room,
        auth.room,
        admin.room,
        tokens.room,
        audit.room,
        health.room,
    ]
