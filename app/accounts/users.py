"""People: created, found, changed, deactivated. There is always an admin left."""

from __future__ import annotations

import re
import uuid
from typing import Final

import sqlalchemy as sa

from app.accounts import audit, passwords, tokens
from app.accounts.models import ROLES, User
from app.accounts.policy import Caller
from app.db import Transaction
from app.errors import Fault, Invalid, Missing, Refused, Unauthenticated

EMAIL: Final = r"^[A-Za-z0-9.!#$%&*+/=?^_{|}~-]{1,64}@[A-Za-z0-9.-]{1,189}$"


def create(
    tx: Transaction,
    caller: Caller,
    *,
    email: str,
    role: str = "member",
    name: str = "",
    password_hash: str | None = None,
) -> User:
    """A new user; without a password they sign in by link. Hash before: it takes a tenth of a
    second, which a transaction should not last."""
    email = email.strip()
    check_email(email)
    check_role(role)
    if find(tx, email) is not None:
        raise Refused(
            f"There is a user {email} already.",
            hint="Change that user, or choose another address.",
        )
    user = User(email=email, role=role, name=name, password_hash=password_hash, active=True)
    tx.session.add(user)
    try:
        tx.session.flush()
    except sa.exc.IntegrityError as fault:
        raise Refused(f"There is a user {email} already.", hint="Change that user.") from fault
    audit.record(tx, caller, "user_created", "user", user.id, after={"email": email, "role": role})
    return user


def check_email(email: str, pointer: str = "/email") -> None:
    if not re.fullmatch(EMAIL, email, re.ASCII):
        raise Invalid(
            "This is no e-mail address.",
            [Fault(pointer, "is no e-mail address")],
            hint="It looks like name@example.org.",
        )


def check_role(role: str, pointer: str = "/role") -> None:
    if role not in ROLES:
        raise Invalid(
            "There is no such role.",
            [Fault(pointer, "is none of " + ", ".join(ROLES))],
            hint="A role is one of " + ", ".join(ROLES) + ".",
        )


def find(tx: Transaction, email: str) -> User | None:
    return tx.session.scalar(
        sa.select(User).where(sa.func.lower(User.email) == email.strip().lower())
    )


def get(tx: Transaction, user_id: uuid.UUID) -> User:
    user = tx.session.get(User, user_id)
    if user is None:
        raise Missing("There is no such user.", hint="List the users to find the id.")
    return user


def check_password(user: User | None, password: str) -> User:
    """The user, if this is their password. Call it between transactions, it is slow on purpose.

    One sentence for every failure: nobody learns which addresses have an account.
    """
    stored = user.password_hash if user is not None and user.active else None
    if not passwords.fits(password, stored) or user is None:
        raise Unauthenticated(
            "The e-mail address or the password is wrong.",
            hint="Try again, or ask an admin for a new password.",
        )
    return user


def set_password(tx: Transaction, caller: Caller, user: User, password_hash: str) -> None:
    """A new password ends every session: whoever stole one is out."""
    user.password_hash = password_hash
    tokens.revoke_sessions(tx, user.id)
    audit.record(tx, caller, "password_set", "user", user.id)


def rename(tx: Transaction, caller: Caller, user: User, name: str) -> None:
    before, user.name = user.name, name
    audit.record(
        tx, caller, "user_renamed", "user", user.id, before={"name": before}, after={"name": name}
    )


def change_role(tx: Transaction, caller: Caller, user: User, role: str) -> None:
    check_role(role)
    if role == user.role:
        return
    if user.role == "admin":
        keep_an_admin(tx, user)
    before, user.role = user.role, role
    audit.record(
        tx, caller, "role_changed", "user", user.id, before={"role": before}, after={"role": role}
    )


def deactivate(tx: Transaction, caller: Caller, user: User) -> None:
    """They can no longer do anything, at once; what they own stays."""
    if not user.active:
        return
    if user.role == "admin":
        keep_an_admin(tx, user)
    user.active = False
    tokens.revoke_all(tx, user_id=user.id)
    audit.record(
        tx,
        caller,
        "user_deactivated",
        "user",
        user.id,
        before={"active": True},
        after={"active": False},
    )


def reactivate(tx: Transaction, caller: Caller, user: User) -> None:
    if user.active:
        return
    user.active = True
    audit.record(
        tx,
        caller,
        "user_reactivated",
        "user",
        user.id,
        before={"active": False},
        after={"active": True},
    )


def keep_an_admin(tx: Transaction, leaving: User) -> None:
    """Refuses to let the last active admin go. Locks the admins' rows: without that, two of them
    who demote each other at the same moment would leave nobody."""
    others = tx.session.scalars(
        sa.select(User.id)
        .where(User.role == "admin", User.active)
        .order_by(User.id)
        .with_for_update()
    ).all()
    if leaving.id not in others:
        raise Refused(
            "Somebody else changed this user at the same moment.", hint="Look again, then retry."
        )
    if len(others) == 1:
        raise Refused(
            "This is the last active admin.",
            hint="Make somebody else an admin first.",
        )
