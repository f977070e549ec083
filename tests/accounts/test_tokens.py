"""Keys: shown once, kept as digests, rotated with an overlap, dead at once when revoked."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from app.accounts import tokens, users
from app.agents import registry
from app.db import Database
from tests.fresh import SYSTEM, People


def test_a_key_tells_its_kind_and_holds_more_than_256_secret_bits() -> None:
    for kind, prefix in tokens.PREFIXES.items():
        key = tokens.new_key(kind)
        assert key.startswith(prefix)
        assert tokens.kind_of(key) == kind
        hidden = len(key) - len(prefix) - tokens.SHOWN
        assert hidden * 6 >= 256
    assert tokens.kind_of("eyJhbGciOiJIUzI1NiJ9.e30.x") is None
    assert len({tokens.new_key("user") for _ in range(1000)}) == 1000


def test_a_dump_of_the_database_opens_nothing(database: Database, people: People) -> None:
    keys = [people.user("admin").text, people.agent().text]
    with database.transaction() as tx:
        _, session = tokens.issue(tx, "session", people.user("member").id, "session")
    keys.append(session)
    with database.transaction() as tx:
        tables = tx.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        dump = ""
        for table in tables:
            rows = tx.execute(
                f"SELECT row_to_json(t)::text AS row FROM {table['tablename']} t"
            ).fetchall()
            dump += "\n".join(row["row"] for row in rows)
    assert "ty_u_" in dump  # the prefix that lists show
    for key in keys:
        assert key not in dump
        secret = key[len("ty_u_") :]
        assert secret[4:] not in dump
        assert tokens.digest(key).hex() in dump


def test_only_live_keys_are_found(database: Database, people: People) -> None:
    user = people.user("member")
    with database.transaction() as tx:
        _, late = tokens.issue(tx, "user", user.id, "late", tx.now + dt.timedelta(hours=1))
        record, dead = tokens.issue(tx, "user", user.id, "dead")
        tokens.revoke(tx, record)
    with database.transaction() as tx:
        assert tokens.find(tx, tokens.digest(late), "user") is not None
        assert tokens.find(tx, tokens.digest(dead), "user") is None
        assert tokens.find(tx, tokens.digest("ty_u_" + "x" * 48), "user") is None
    database.shift = dt.timedelta(hours=1)
    try:
        with database.transaction() as tx:
            assert tokens.find(tx, tokens.digest(late), "user") is None
            assert tokens.find(tx, tokens.digest(user.text), "user") is not None
    finally:
        database.shift = dt.timedelta(0)


def test_two_keys_live_during_a_rotation_and_one_after(database: Database, people: People) -> None:
    agent = people.agent()

    def live(*keys: str) -> list[bool]:
        with database.transaction() as tx:
            return [tokens.find(tx, tokens.digest(key), "agent") is not None for key in keys]

    with database.transaction() as tx:
        _, second = registry.rotate_key(tx, SYSTEM, agent.id, "second", dt.timedelta(hours=1))
    assert live(agent.text, second) == [True, True]
    with database.transaction() as tx:
        _, third = registry.rotate_key(tx, SYSTEM, agent.id, "third", dt.timedelta(hours=1))
    assert live(agent.text, second, third) == [False, True, True]
    database.shift = dt.timedelta(hours=1)
    try:
        assert live(agent.text, second, third) == [False, False, True]
    finally:
        database.shift = dt.timedelta(0)


def test_a_rotation_without_overlap_ends_the_old_key_at_once(
    database: Database, people: People
) -> None:
    agent = people.agent()
    with database.transaction() as tx:
        tokens.rotate(tx, agent.id, "new", dt.timedelta(0))
    with database.transaction() as tx:
        assert tokens.find(tx, tokens.digest(agent.text), "agent") is None


def test_deactivation_and_retirement_end_every_key(database: Database, people: People) -> None:
    user, agent = people.user("member"), people.agent()
    with database.transaction() as tx:
        _, session = tokens.issue(tx, "session", user.id, "session")
    with database.transaction() as tx:
        users.deactivate(tx, SYSTEM, users.get(tx, user.id))
        registry.retire(tx, SYSTEM, agent.id)
    with database.transaction() as tx:
        users.reactivate(tx, SYSTEM, users.get(tx, user.id))
    with database.transaction() as tx:
        assert tokens.find(tx, tokens.digest(user.text), "user") is None
        assert tokens.find(tx, tokens.digest(session), "session") is None
        assert tokens.find(tx, tokens.digest(agent.text), "agent") is None


def test_a_key_of_one_kind_is_not_found_as_another(database: Database, people: People) -> None:
    user = people.user("member")
    with database.transaction() as tx:
        _, session = tokens.issue(tx, "session", user.id, "session")
    with database.transaction() as tx:
        assert tokens.find(tx, tokens.digest(session), "user") is None
        assert tokens.find(tx, tokens.digest(user.text), "session") is None
        assert tokens.find(tx, tokens.digest(session), "session") is not None


def test_use_is_noted_once_a_minute(database: Database, people: People) -> None:
    user = people.user("member")

    def used() -> dt.datetime | None:
        with database.transaction() as tx:
            tokens.find(tx, tokens.digest(user.text), "user")
        with database.transaction() as tx:
            row = tx.fetch("SELECT last_used_at FROM api_tokens WHERE id = %s", (user.token_id,))
            found: dt.datetime | None = row["last_used_at"]
            return found

    first = used()
    assert first is not None
    assert used() == first
    database.shift = dt.timedelta(minutes=1)
    try:
        later = used()
        assert later is not None
        assert later - first >= dt.timedelta(minutes=1)
    finally:
        database.shift = dt.timedelta(0)


@pytest.mark.parametrize("kind", ["user", "agent"])
def test_a_key_needs_an_owner(database: Database, kind: tokens.Kind) -> None:
    import sqlalchemy as sa

    with pytest.raises(sa.exc.IntegrityError), database.transaction() as tx:
        tokens.issue(tx, kind, uuid.uuid4(), "nobody's")
