"""JWTs: ours alone, for a quarter of an hour, and dead with what they were bought with."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from typing import Any

import jwt as pyjwt
import pytest

from app.accounts import jwt, tokens, users
from app.db import Database
from tests.fresh import SYSTEM, Key

SECRET = "a key of the server for these tests"


def issue(database: Database, user: Key, token_id: uuid.UUID | None = None) -> str:
    with database.transaction() as tx:
        return jwt.issue(SECRET, user.id, "member", tx.now, token_id)


def opens(database: Database, text: str) -> bool:
    with database.transaction() as tx:
        return jwt.find(tx, SECRET, text) is not None


def forge(user: Key, key: Any = None, algorithm: str | None = "HS256", **claims: Any) -> str:
    now = dt.datetime.now(dt.UTC)
    said: dict[str, Any] = {
        "iss": jwt.ISSUER,
        "aud": jwt.AUDIENCE,
        "sub": str(user.id),
        "role": "member",
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 600,
        **claims,
    }
    said = {name: value for name, value in said.items() if value is not None}
    return pyjwt.encode(said, jwt.signing_key(SECRET) if key is None else key, algorithm=algorithm)


def test_one_that_we_issued_opens(database: Database, member: Key) -> None:
    text = issue(database, member)
    with database.transaction() as tx:
        holder = jwt.find(tx, SECRET, text)
    assert holder is not None
    assert (holder.kind, holder.id, holder.role) == ("user", member.id, "member")
    assert opens(database, forge(member))  # so that each refusal below is for its own reason


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-api"},
        {"aud": None},
        {"iss": "another"},
        {"iss": None},
        {"exp": None},
        {"exp": 1},
        {"exp": "soon"},
        {"exp": 10**20},
        {"iat": None},
        {"sub": None},
        {"sub": "nobody"},
        {"sub": str(uuid.UUID(int=9))},
        {"role": "admin"},
        {"role": None},
        {"token": str(uuid.UUID(int=9))},
        {"token": "x"},
        {"token": 1},
    ],
)
def test_a_wrong_claim_opens_nothing(
    database: Database, member: Key, claims: dict[str, Any]
) -> None:
    try:
        text = forge(member, **claims)
    except TypeError:  # PyJWT itself does not write this one
        pytest.skip("cannot be forged with PyJWT")
    assert not opens(database, text)


def test_another_key_or_algorithm_opens_nothing(database: Database, member: Key) -> None:
    assert not opens(database, forge(member, key=b"another key that is long enough for it"))
    assert not opens(database, forge(member, key=SECRET.encode().ljust(32)))
    assert not opens(database, forge(member, key="", algorithm="none"))
    key = jwt.signing_key(SECRET)
    for algorithm in ("HS384", "HS512"):
        longer = forge(member, key=key.ljust(64, b"\0"), algorithm=algorithm)
        assert not opens(database, longer)


def test_a_header_that_lies_about_its_algorithm_opens_nothing(
    database: Database, member: Key
) -> None:
    _, payload, signature = issue(database, member).split(".")
    for header in (
        {"alg": "none", "typ": "JWT"},
        {"alg": "None"},
        {"alg": "RS256"},
        {"alg": ""},
        {"alg": None},
        {},
    ):
        written = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
        for end in (signature, ""):
            assert not opens(database, f"{written}.{payload}.{end}")


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "e30.e30.", "\0.\0.\0", "x" * 10_000])
def test_rubbish_opens_nothing(database: Database, text: str) -> None:
    assert not opens(database, text)


def test_it_expires_by_the_clock_of_the_database(database: Database, member: Key) -> None:
    text = issue(database, member)
    database.shift = jwt.LIFETIME - dt.timedelta(seconds=5)
    try:
        assert opens(database, text)
        database.shift = jwt.LIFETIME + dt.timedelta(seconds=1)
        assert not opens(database, text)
    finally:
        database.shift = dt.timedelta(0)


def test_it_dies_with_deactivation_and_with_a_change_of_role(
    database: Database, member: Key
) -> None:
    text = issue(database, member)
    with database.transaction() as tx:
        users.change_role(tx, SYSTEM, users.get(tx, member.id), "operator")
    assert not opens(database, text)
    with database.transaction() as tx:
        users.change_role(tx, SYSTEM, users.get(tx, member.id), "member")
    assert opens(database, text)
    with database.transaction() as tx:
        users.deactivate(tx, SYSTEM, users.get(tx, member.id))
    assert not opens(database, text)


def test_it_dies_with_the_token_that_bought_it(database: Database, member: Key) -> None:
    text = issue(database, member, member.token_id)
    assert opens(database, text)
    with database.transaction() as tx:
        tokens.revoke(tx, tokens.get(tx, member.token_id))
    assert not opens(database, text)


def test_somebody_elses_token_does_not_stand_for_it(
    database: Database, member: Key, admin: Key
) -> None:
    assert not opens(database, issue(database, member, admin.token_id))
