"""Sharing: with whom, to do what, until when."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import Database
from tests.fresh import Key, People
from tests.handoff.runs import MadeRun, make_run


@pytest.fixture
def made(database: Database, member: Key) -> MadeRun:
    return make_run(database, member.id, {"a": []})


def test_a_share_opens_and_its_end_closes_at_once(
    people: People, member: Key, made: MadeRun
) -> None:
    friend = people.user("member", "Friend@example.org")
    path = f"/api/executions/{made.id}"
    assert friend.get(path).status_code == 404
    answer = member.post(f"{path}/shares", {"email": "friend@EXAMPLE.org"})
    assert answer.status_code == 201, answer.text
    assert answer.json["user_id"] == str(friend.id)
    assert answer.json["rights"] == "view"
    assert friend.get(path).status_code == 200
    assert friend.patch(path, {"action": "pause"}).status_code == 403
    again = member.post(f"{path}/shares", {"user_id": str(friend.id), "rights": "steer"})
    assert again.json["rights"] == "steer"
    assert len(member.get(f"{path}/shares").json["items"]) == 1
    assert friend.patch(path, {"action": "pause"}).status_code == 200
    assert member.delete(f"{path}/shares?user_id={friend.id}").status_code == 204
    assert friend.get(path).status_code == 404
    assert member.delete(f"{path}/shares?user_id={friend.id}").status_code == 404


def test_whoever_it_is_shared_with_may_leave_and_share_it_with_nobody(
    people: People, member: Key, made: MadeRun
) -> None:
    friend, other = people.user("member"), people.user("member")
    path = f"/api/executions/{made.id}/shares"
    for one in (friend, other):
        member.post(path, {"user_id": str(one.id), "rights": "steer"})
    assert friend.post(path, {"user_id": str(other.id)}).status_code == 403
    assert friend.delete(f"{path}?user_id={other.id}").status_code == 403
    assert friend.delete(f"{path}?user_id={friend.id}").status_code == 204
    assert friend.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"email": "a@example.org", "user_id": "00000000-0000-0000-0000-000000000000"}, 422),
        ({"email": "nobody@example.org"}, 404),
        ({"user_id": "00000000-0000-0000-0000-000000000000"}, 404),
        ({"email": "a@example.org", "rights": "own"}, 422),
    ],
)
def test_a_share_with_nobody_is_refused(
    member: Key, made: MadeRun, body: dict[str, Any], status: int
) -> None:
    assert member.post(f"/api/executions/{made.id}/shares", body).status_code == status


def test_the_owner_and_the_deactivated_get_no_share(
    people: People, member: Key, admin: Key, made: MadeRun
) -> None:
    path = f"/api/executions/{made.id}/shares"
    assert member.post(path, {"user_id": str(member.id)}).status_code == 422
    gone = people.user("member")
    assert admin.patch(f"/api/admin/users/{gone.id}", {"active": False}).status_code == 200
    assert member.post(path, {"user_id": str(gone.id)}).status_code == 404


def test_sharing_is_in_the_audit_log(
    people: People, member: Key, admin: Key, made: MadeRun
) -> None:
    friend = people.user("member")
    path = f"/api/executions/{made.id}/shares"
    member.post(path, {"user_id": str(friend.id)})
    member.delete(f"{path}?user_id={friend.id}")
    entries = admin.get("/api/admin/audit").json["items"]
    mine = [one["action"] for one in entries if one["object_id"] == str(made.id)]
    assert mine == ["execution_unshared", "execution_shared"]
