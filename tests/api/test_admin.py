"""Users, tokens and the audit log: for admins, one's own tokens aside."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from app.db import Database
from tests.fresh import Key, People

USERS = "/api/admin/users"
TOKENS = "/api/admin/tokens"
AUDIT = "/api/admin/audit"
PASSWORD = "correct horse battery"


def items(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json["items"]
    return found


def test_users_and_audit_are_for_admins(operator: Key, member: Key, people: People) -> None:
    somebody = people.user("member")
    for key in (operator, member, people.agent()):
        for method, path, body in (
            ("GET", USERS, None),
            ("POST", USERS, {"email": "x@example.org", "role": "admin"}),
            ("GET", f"{USERS}/{somebody.id}", None),
            ("PATCH", f"{USERS}/{somebody.id}", {"role": "admin"}),
            ("PATCH", f"{USERS}/{key.id}", {"role": "admin"}),
            ("DELETE", f"{USERS}/{somebody.id}", None),
            ("GET", AUDIT, None),
        ):
            assert key.call(method, path, body).status_code == 403, (method, path)
    assert people.client.get(USERS).status_code == 401


def test_an_admin_creates_changes_and_deactivates(admin: Key, people: People) -> None:
    made = admin.post(
        USERS, {"email": "ann@example.org", "role": "operator", "password": PASSWORD}
    ).json
    assert made is not None
    assert made["role"] == "operator"
    assert "password" not in str(made)
    path = f"{USERS}/{made['id']}"
    assert admin.post(USERS, {"email": "ANN@example.org"}).status_code == 409
    changed = admin.patch(path, {"role": "member", "name": "Ann"}).json
    assert changed is not None
    assert (changed["role"], changed["name"]) == ("member", "Ann")
    gone = admin.delete(path).json
    assert gone is not None
    assert gone["active"] is False
    assert admin.get(path).json == gone
    back = admin.patch(path, {"active": True}).json
    assert back is not None
    assert back["active"] is True


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/email"),
        ({"email": "x"}, "/email"),
        ({"email": "a@b\r\n"}, "/email"),
        ({"email": "a@example.org", "role": "owner"}, "/role"),
        ({"email": "a@example.org", "password": "short"}, "/password"),
        ({"email": "a@example.org", "password_hash": "x"}, "/password_hash"),
        ({"email": "a@example.org", "id": "x"}, "/id"),
        ({"email": "a@example.org", "name": 1}, "/name"),
    ],
)
def test_what_cannot_be_a_user_is_pointed_at(
    admin: Key, body: dict[str, Any], pointer: str
) -> None:
    answer = admin.post(USERS, body)
    assert answer.status_code == 422
    assert answer.json is not None
    assert [each["pointer"] for each in answer.json["errors"]] == [pointer]


def test_the_last_admin_cannot_leave(admin: Key) -> None:
    for method, body in (
        ("DELETE", None),
        ("PATCH", {"role": "member"}),
        ("PATCH", {"active": False}),
    ):
        answer = admin.call(method, f"{USERS}/{admin.id}", body)
        assert answer.status_code == 409
        assert answer.json is not None
        assert "last active admin" in answer.json["detail"]


def test_users_are_found_by_role_state_and_text(admin: Key, people: People) -> None:
    people.user("member", "ann_smith@example.org")
    ben = people.user("operator", "ben@example.org")
    admin.delete(f"{USERS}/{ben.id}")
    for query, emails in (
        ("role=member", ["ann_smith@example.org"]),
        ("active=0", ["ben@example.org"]),
        ("text=ANN_", ["ann_smith@example.org"]),
        ("text=%25", []),
        ("role=operator&active=true", []),
    ):
        assert [each["email"] for each in items(admin.get(f"{USERS}?{query}"))] == emails


def test_one_makes_and_revokes_tokens_of_ones_own(member: Key, people: People) -> None:
    made = member.post(TOKENS, {"name": "laptop"}).json
    assert made is not None
    laptop = Key(people.client, made["token"], member.id, uuid.UUID(made["key"]["id"]))
    assert laptop.get("/api/auth/me").status_code == 200
    listed = items(member.get(TOKENS))
    assert [each["name"] for each in listed] == ["laptop", "tests"]
    assert made["token"] not in str(listed)
    assert listed[0]["prefix"] == made["token"][:9]
    assert member.delete(f"{TOKENS}/{laptop.token_id}").status_code == 204
    assert laptop.get("/api/auth/me").status_code == 401


def test_nobody_touches_somebody_elses_token_but_an_admin(
    member: Key, operator: Key, admin: Key, people: People
) -> None:
    for key in (operator, people.user("member")):
        assert key.delete(f"{TOKENS}/{member.token_id}").status_code == 404
        assert key.get(f"{TOKENS}?user_id={member.id}").status_code == 403
        assert key.post(TOKENS, {"user_id": str(member.id)}).status_code == 403
    assert [each["id"] for each in items(admin.get(f"{TOKENS}?user_id={member.id}"))] == [
        str(member.token_id)
    ]
    assert admin.delete(f"{TOKENS}/{member.token_id}").status_code == 204
    assert member.get("/api/auth/me").status_code == 401


def test_an_agent_has_no_tokens(people: People, member: Key) -> None:
    agent = people.agent()
    assert agent.get(TOKENS).status_code == 403
    assert agent.post(TOKENS, {}).status_code == 403
    assert agent.delete(f"{TOKENS}/{member.token_id}").status_code == 403


def test_a_token_ends_when_it_should(member: Key, people: People, database: Database) -> None:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
    assert member.post(TOKENS, {"expires_at": past.isoformat()}).status_code == 422
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    made = member.post(TOKENS, {"expires_at": soon.isoformat()}).json
    assert made is not None
    short = Key(people.client, made["token"], member.id, uuid.UUID(made["key"]["id"]))
    assert short.get("/api/auth/me").status_code == 200
    database.shift = dt.timedelta(hours=1, seconds=1)
    try:
        assert short.get("/api/auth/me").status_code == 401
    finally:
        database.shift = dt.timedelta(0)


def test_sessions_are_no_tokens_to_list_or_revoke(
    member: Key, admin: Key, database: Database
) -> None:
    from app.accounts import tokens

    with database.transaction() as tx:
        session, _ = tokens.issue(tx, "session", member.id, "session")
    assert str(session.id) not in member.get(TOKENS).text
    assert admin.delete(f"{TOKENS}/{session.id}").status_code == 404


def test_each_privileged_act_says_who_what_when_and_whence(admin: Key, people: People) -> None:
    made = admin.post(
        USERS,
        {"email": "ann@example.org", "password": PASSWORD},
        environ_overrides={"REMOTE_ADDR": "192.0.2.7"},
    ).json
    assert made is not None
    path = f"{USERS}/{made['id']}"
    admin.patch(path, {"role": "operator", "password": PASSWORD + "!"})
    admin.delete(path)
    entries = items(admin.get(f"{AUDIT}?object_kind=user&object_id={made['id']}"))
    assert [each["action"] for each in entries] == [
        "user_deactivated",
        "password_set",
        "role_changed",
        "user_created",
    ]
    assert entries[-1]["address"] == "192.0.2.7"
    assert entries[2]["before"] == {"role": "member"}
    assert entries[2]["after"] == {"role": "operator"}
    for each in entries:
        assert each["actor"] == f"user:{admin.id}"
        assert each["created_at"].endswith("Z")
    told = admin.get(AUDIT).text
    assert PASSWORD not in told
    assert "argon2" not in told
    assert items(admin.get(f"{AUDIT}?action=role_changed&actor=user:{admin.id}"))
    assert items(admin.get(f"{AUDIT}?actor=nobody")) == []
