"""Signing in and out by cookie. The cookie names a session that this side can end."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Final

from flask import Flask, session
from flask_login import LoginManager, UserMixin, login_user, logout_user

from app.accounts import tokens
from app.accounts.policy import Caller
from app.api.callers import SESSION_KEY, identify
from app.api.frame import database
from app.errors import Unauthenticated

LIFETIME: Final = dt.timedelta(days=14)

manager = LoginManager()


class SignedIn(UserMixin):  # type: ignore[misc]  # flask-login is not typed
    """Whom flask-login knows: the key of a session, and who holds it."""

    def __init__(self, key: str, caller: Caller | None = None) -> None:
        self.key = key
        self.caller = caller

    def get_id(self) -> str:
        return self.key


def register_sessions(app: Flask) -> None:
    # Not init_app: its hook looks for a "remember me" cookie after each request, and there is none.
    app.login_manager = manager  # type: ignore[attr-defined]


@manager.user_loader  # type: ignore[untyped-decorator]
def load(key: str) -> SignedIn | None:
    try:
        return SignedIn(key, identify())
    except Unauthenticated:
        return None


def sign_in(user_id: uuid.UUID) -> None:
    """Opens a new session, whatever cookie came: one that was planted before is worth nothing."""
    sign_out()
    with database().transaction() as tx:
        _, key = tokens.issue(tx, "session", user_id, "session", tx.now + LIFETIME)
    login_user(SignedIn(key))


def sign_out() -> None:
    """Ends the session here too: a copy of its cookie opens nothing any more."""
    key = session.get(SESSION_KEY)
    if key:
        with database().transaction() as tx:
            tokens.end_session(tx, key)
    logout_user()
    session.clear()
