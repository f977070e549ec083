"""Agents: registering, reading, changing, keys, retiring; and who may."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest

from app.db import Database
from tests.fresh import Key, People

ALL = "/api/agents"
ONE = {"name": "Ann", "capabilities": [{"action": "write"}]}


def register(key: Key, **more: Any) -> dict[str, Any]:
    answer = key.post(ALL, {**ONE, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json
    return made


def pointers(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [each["pointer"] for each in answer.json["errors"]]


def test_registering_answers_the_agent_and_its_key_once(operator: Key) -> None:
    made = register(
        operator,
        capabilities=[{"action": "send_mail", "params": {"to": "team"}}, {"action": "write"}],
        max_concurrent=3,
        webhook_url="https://agent.example/hook",
        budget={"tokens": 1000, "usd": 2.5},
        role="Clerk",
    )
    assert made["api_key"].startswith("ty_a_")
    assert made["status"] == "active"
    assert made["capabilities"][0] == {"action": "send_mail", "params": {"to": "team"}}
    assert made["max_concurrent"] == 3
    assert made["created_at"].endswith("Z")
    again = operator.get(f"{ALL}/{made['id']}").json
    assert again is not None
    assert "api_key" not in again
    assert again == {name: value for name, value in made.items() if name != "api_key"}


def test_the_key_works_at_once(operator: Key, people: People) -> None:
    made = register(operator)
    agent = Key(people.client, made["api_key"], uuid.UUID(made["id"]), uuid.UUID(int=0))
    assert agent.get(f"{ALL}/{agent.id}").status_code == 200


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"capabilities": []}, "/capabilities"),
        ({"capabilities": None}, "/capabilities"),
        ({"capabilities": [{}]}, "/capabilities/0/action"),
        ({"capabilities": [{"action": "Write"}]}, "/capabilities/0/action"),
        ({"capabilities": [{"action": "a b"}]}, "/capabilities/0/action"),
        ({"capabilities": [{"action": "a\n"}]}, "/capabilities/0/action"),
        ({"capabilities": [{"action": "x" * 65}]}, "/capabilities/0/action"),
        ({"capabilities": [{"action": "human"}]}, "/capabilities/0/action"),
        ({"capabilities": [{"action": "a"}, {"action": "b", "scope": 1}]}, "/capabilities/1/scope"),
        ({"name": ""}, "/name"),
        ({"name": "   "}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "a\x1b[31mb"}, "/name"),
        ({"max_concurrent": 0}, "/max_concurrent"),
        ({"max_concurrent": 10**12}, "/max_concurrent"),
        ({"webhook_url": "ftp://x"}, "/webhook_url"),
        ({"webhook_url": "javascript:alert(1)"}, "/webhook_url"),
        ({"kind": "builtin"}, "/kind"),
        ({"owner": "me"}, "/owner"),
        ({"status": "retired"}, "/status"),
        ({"id": "x"}, "/id"),
        ({"budget": {"usd": -1}}, "/budget/usd"),
    ],
)
def test_what_cannot_be_an_agent_is_pointed_at(
    operator: Key, change: dict[str, Any], pointer: str
) -> None:
    assert pointer in pointers(operator.post(ALL, {**ONE, **change}))


def test_registering_without_a_capability_says_so(operator: Key) -> None:
    assert pointers(operator.post(ALL, {"name": "Ann"})) == ["/capabilities"]


def test_a_name_is_taken_until_its_agent_retires(operator: Key) -> None:
    made = register(operator)
    answer = operator.post(ALL, {**ONE, "name": "ANN"})
    assert answer.status_code == 409
    assert operator.delete(f"{ALL}/{made['id']}").status_code == 200
    register(operator)


def test_two_that_take_one_name_at_once_do_not_both_get_it(operator: Key) -> None:
    barrier = threading.Barrier(4)
    statuses: list[int] = []

    def take() -> None:
        client = operator.client.application.test_client()
        barrier.wait()
        statuses.append(client.post(ALL, json=ONE, headers=operator.headers).status_code)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 409, 409, 409]


def test_who_may_do_what(people: People, operator: Key, admin: Key, member: Key) -> None:
    agent, other = people.agent(), people.agent()
    mine, path = f"{ALL}/{agent.id}", f"{ALL}/{other.id}"
    expected: list[tuple[str, str, Any, dict[str, int]]] = [
        ("GET", ALL, None, {"member": 200, "agent": 403}),
        ("POST", ALL, {**ONE, "name": "x"}, {"member": 403, "agent": 403}),
        ("GET", path, None, {"member": 200, "agent": 403}),
        ("GET", mine, None, {"member": 200, "agent": 200}),
        ("GET", f"{mine}/capabilities", None, {"member": 200, "agent": 200}),
        ("GET", f"{path}/capabilities", None, {"member": 200, "agent": 403}),
        ("PATCH", path, {"version": "2"}, {"member": 403, "agent": 403}),
        ("PATCH", mine, {"version": "2"}, {"member": 403, "agent": 200}),
        ("PATCH", mine, {"max_concurrent": 9}, {"member": 403, "agent": 403}),
        ("PATCH", mine, {"capabilities": [{"action": "pay"}]}, {"member": 403, "agent": 403}),
        ("POST", f"{mine}/keys", {}, {"member": 403, "agent": 403}),
        ("GET", f"{mine}/keys", None, {"member": 403, "agent": 403}),
        ("DELETE", f"{mine}/keys/{agent.token_id}", None, {"member": 403, "agent": 403}),
        ("DELETE", mine, None, {"member": 403, "agent": 403}),
    ]
    for method, where, body, statuses in expected:
        for who, key in (("member", member), ("agent", agent)):
            answer = key.call(method, where, body)
            assert answer.status_code == statuses[who], (who, method, where, answer.text)
    for key in (operator, admin):
        for method, where, body, _ in expected[2:-4]:
            assert key.call(method, where, body).status_code in (200, 201), (method, where)
    for method, where, body, _ in expected:
        nobody = people.client.open(where, method=method, json=body)
        assert nobody.status_code == 401, (method, where)


def test_a_change_touches_what_it_names_and_nothing_else(operator: Key) -> None:
    made = register(operator, role="Clerk", webhook_url="https://agent.example/hook")
    path = f"{ALL}/{made['id']}"
    answer = operator.patch(path, {"status": "paused", "webhook_url": None})
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["status"] == "paused"
    assert answer.json["webhook_url"] is None
    assert answer.json["role"] == "Clerk"
    assert operator.patch(path, {}).json == answer.json
    for wrong in ({"status": "retired"}, {"status": "unreachable"}, {"kind": "human"}, {"x": 1}):
        assert operator.patch(path, wrong).status_code == 422
    assert operator.patch(path, {"name": None}).json == answer.json


def test_a_member_sees_agents_without_the_addresses_of_their_hooks(
    operator: Key, member: Key
) -> None:
    made = register(operator, webhook_url="https://user:secret@agent.example/hook")
    shown = member.get(f"{ALL}/{made['id']}").json
    assert shown is not None
    assert shown["webhook_url"] is None
    assert "secret" not in member.get(ALL).text


def test_a_key_is_rotated_with_an_overlap(operator: Key, people: People) -> None:
    agent = people.agent()
    path = f"{ALL}/{agent.id}"
    answer = operator.post(f"{path}/keys", {"name": "second", "overlap_seconds": 60})
    assert answer.status_code == 201
    assert answer.json is not None
    second = Key(people.client, answer.json["api_key"], agent.id, uuid.UUID(int=0))
    assert agent.get(path).status_code == 200
    assert second.get(path).status_code == 200
    assert answer.json["api_key"] not in operator.get(f"{path}/keys").text
    third = operator.post(f"{path}/keys", {"overlap_seconds": 0}).json
    assert third is not None
    assert agent.get(path).status_code == 401
    assert second.get(path).status_code == 401
    newest = Key(people.client, third["api_key"], agent.id, uuid.UUID(int=0))
    assert newest.get(path).status_code == 200
    assert operator.delete(f"{path}/keys/{third['key']['id']}").status_code == 204
    assert newest.get(path).status_code == 401


@pytest.mark.parametrize("overlap", [-1, 7 * 86_400 + 1, 1.5, "60", None])
def test_an_overlap_without_sense_is_refused(operator: Key, people: People, overlap: Any) -> None:
    path = f"{ALL}/{people.agent().id}/keys"
    assert pointers(operator.post(path, {"overlap_seconds": overlap})) == ["/overlap_seconds"]


def test_a_retired_agent_stays_retired(operator: Key, people: People) -> None:
    agent = people.agent()
    path = f"{ALL}/{agent.id}"
    for _ in range(2):
        answer = operator.delete(path)
        assert answer.status_code == 200
        assert answer.json is not None
        assert answer.json["status"] == "retired"
    assert agent.get(path).status_code == 401
    assert operator.patch(path, {"status": "active"}).status_code == 409
    assert operator.post(f"{path}/keys", {}).status_code == 409
    listed = operator.get(ALL).json
    assert listed == {"items": [], "next_cursor": None}
    retired = operator.get(f"{ALL}?status=retired").json
    assert retired is not None
    assert [each["id"] for each in retired["items"]] == [str(agent.id)]


def test_what_is_not_there_is_missing(operator: Key) -> None:
    for path in (f"{ALL}/{uuid.uuid4()}", f"{ALL}/{uuid.uuid4()}/capabilities", f"{ALL}/1"):
        answer = operator.get(path)
        assert answer.status_code == 404
        assert answer.mimetype == "application/problem+json"


def test_a_list_is_read_a_page_at_a_time_and_misses_nothing(
    operator: Key, people: People, database: Database
) -> None:
    made = [people.agent(f"agent {n}") for n in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = operator.get(f"{ALL}?limit=3{cursor}").json
        assert page is not None
        seen += [each["name"] for each in page["items"]]
        people.agent()  # one that comes meanwhile moves nothing
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [f"agent {n}" for n in reversed(range(7))]
    assert len(made) == 7


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "cursor=x", "cursor=" + "!" * 22, "status=asleep", "page=2"]
)
def test_a_list_that_cannot_be_is_refused(operator: Key, query: str) -> None:
    assert pointers(operator.get(f"{ALL}?{query}")) == ["?" + query.split("=")[0]]


def test_a_list_is_narrowed_by_what_agents_can_do(operator: Key, people: People) -> None:
    people.agent("writer")
    people.agent("payer", capabilities=[{"action": "pay", "params": {"up_to": 5}}])
    people.agent("sleeper", status="paused")
    for query, names in (
        ("action=pay", ["payer"]),
        ("action=write", ["sleeper", "writer"]),
        ("status=paused", ["sleeper"]),
        ("kind=human", []),
        ("action=pay&status=paused", []),
    ):
        page = operator.get(f"{ALL}?{query}").json
        assert page is not None
        assert [each["name"] for each in page["items"]] == names


def test_each_privileged_act_is_in_the_audit_log(
    operator: Key, admin: Key, database: Database
) -> None:
    made = register(operator, webhook_url="https://u:hunter2@agent.example")
    path = f"{ALL}/{made['id']}"
    operator.patch(path, {"max_concurrent": 2, "webhook_url": "https://u:hunter3@agent.example"})
    rotated = operator.post(f"{path}/keys", {}).json
    assert rotated is not None
    operator.delete(f"{path}/keys/{rotated['key']['id']}")
    operator.delete(path)
    page = admin.get(f"/api/admin/audit?object_id={made['id']}").json
    assert page is not None
    assert [each["action"] for each in page["items"]] == [
        "agent_retired",
        "agent_key_revoked",
        "agent_key_rotated",
        "agent_changed",
        "agent_registered",
    ]
    for each in page["items"]:
        assert each["actor"] == f"user:{operator.id}"
        assert each["address"] == "127.0.0.1"
    changed = page["items"][3]
    assert changed["before"]["max_concurrent"] == 1
    assert changed["after"]["max_concurrent"] == 2
    told = admin.get("/api/admin/audit").text
    for secret in ("hunter", made["api_key"], rotated["api_key"]):
        assert secret not in told
