"""The JSON doors of plans: importing, reading, deleting, and who may."""

from __future__ import annotations

import io
import json
import uuid
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from flask.testing import FlaskClient

from app.control.starting import create_execution
from app.db import Database
from app.plans.reading.form import GenericPlan
from app.plans.reading.generic import read
from tests.fresh import Key, People
from tests.plans.making import grid, phase, plan, subtask, task

EXAMPLES = Path(__file__).parents[2] / "examples" / "plans"


def bring(key: Key, form: Any) -> dict[str, Any]:
    answer = key.post("/api/plans", form)
    assert answer.status_code == 202, answer.json
    found: dict[str, Any] = answer.json
    return found


def upload(key: Key, content: bytes, name: str = "plan.json", field: str = "file") -> Any:
    return key.post(
        "/api/plans",
        data={field: (io.BytesIO(content), name)},
        content_type="multipart/form-data",
    )


def test_an_import_answers_the_plan(member: Key) -> None:
    made = bring(member, plan(phase(task(subtask(), subtask(prerequisites=["2"]))), phase(task())))
    assert made["owner_id"] == str(member.id)
    assert made["decomposition_status"] == "done"
    assert (made["version"], made["warnings"], made["title"]) == (1, [], "A plan")
    assert made["counts"] == {
        "phases": 2,
        "tasks": 2,
        "subtasks": 2,
        "leaves": 3,
        "dependencies": 1,
    }
    assert member.get(f"/api/plans/{made['id']}").json == made


def test_the_same_content_again_is_the_same_plan_whichever_way_it_comes(member: Key) -> None:
    form = grid(1, 2, 2)
    first = bring(member, form)
    assert bring(member, form)["id"] == first["id"]
    for content in (
        json.dumps(form, indent=4).encode(),
        b"\xef\xbb\xbf" + json.dumps(form).encode(),
    ):
        answer = upload(member, content)
        assert answer.status_code == 202, answer.json
        assert answer.json["id"] == first["id"]
    assert len(member.get("/api/plans").json["items"]) == 1


def test_a_plan_of_several_mebibytes_is_taken(member: Key) -> None:
    made = bring(member, grid(4, 25, 10, description="What is to be done. " * 150))
    assert made["counts"]["leaves"] == 1_000


def test_a_fault_is_told_with_its_place_and_nothing_is_stored(member: Key) -> None:
    form = plan(phase(task(prerequisites=["1.2"]), task(prerequisites=["1.1", "7"])))
    answer = member.post("/api/plans", form)
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert answer.json["errors"] == [
        {
            "pointer": "/phases/0/tasks/1/prerequisites/1",
            "detail": "there is no 7 in this plan",
        },
        {
            "pointer": "/phases/0/tasks/1/prerequisites/0",
            "detail": "waits in a circle: 1.1 → 1.2 → 1.1",
        },
    ]
    assert "1.1" in answer.json["detail"] or "7" in answer.json["detail"]
    assert answer.json["hint"]
    assert member.get("/api/plans").json["items"] == []


def test_an_unknown_field_is_refused_by_its_name(member: Key) -> None:
    answer = member.post("/api/plans", plan(phase(task(subtask(deadline="soon")))))
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json["errors"]] == [
        "/phases/0/tasks/0/subtasks/0/deadline"
    ]


@pytest.mark.parametrize(
    ("pointer", "field"),
    [
        ("estimate", {"estimate": "3d"}),
        ("estimate", {"estimate": 1e9}),
        ("estimate/likely", {"estimate": {"min": 1}}),
        ("priority", {"priority": "urgent"}),
        ("action", {"action": "Do It"}),
        ("retry_policy/base", {"retry_policy": {"base": 1}}),
    ],
)
def test_a_wrong_field_is_told_at_its_own_place_once(
    member: Key, pointer: str, field: dict[str, Any]
) -> None:
    answer = member.post("/api/plans", plan(phase(task(**field))))
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json["errors"]] == [f"/phases/0/tasks/0/{pointer}"]


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (415, "text/csv", b"code,title\n1,a\n"),
        (415, "text/markdown", b"# A plan"),
        (415, "application/zip", b"PK\x03\x04"),
        (400, "application/json", b"{"),
        (400, "application/json", b"[" * 100_000),
        (400, "application/json", b'{"title": "\xff"}'),
        (422, "application/json", b"[]"),
        (422, "application/json", b""),
        (422, "application/json", b'{"title": "a\\u0000b", "phases": []}'),
    ],
)
def test_what_is_no_plan_in_the_generic_form_is_refused(
    member: Key, status: int, content_type: str, body: bytes
) -> None:
    answer = member.post("/api/plans", data=body, content_type=content_type)
    assert answer.status_code == status, answer.json
    assert answer.content_type == "application/problem+json"
    if status == 415:
        assert "/api/schemas/plan.json" in answer.json["detail"]


def test_a_form_holds_one_json_file_and_nothing_else(member: Key) -> None:
    assert upload(member, b"PK", "plan.zip").status_code == 415
    assert upload(member, b"{", "plan.json").status_code == 400
    assert upload(member, b"{}", "plan.json", field="upload").status_code == 422
    nothing = member.post("/api/plans", data={}, content_type="multipart/form-data")
    assert nothing.status_code == 422
    more = {"file": (io.BytesIO(b"{}"), "plan.json"), "owner": "me"}
    answer = member.post("/api/plans", data=more, content_type="multipart/form-data")
    assert answer.status_code == 422
    assert answer.json["errors"] == [{"pointer": "/owner", "detail": "is not known here"}]


def test_the_nodes_of_a_plan_come_a_page_at_a_time(member: Key) -> None:
    made = bring(
        member,
        plan(phase(task(subtask(estimate=2), subtask(prerequisites=["1.1.1"])), title="First")),
    )
    url = f"/api/plans/{made['id']}/tasks"
    codes: list[str] = []
    cursor = ""
    while True:
        page = member.get(f"{url}?limit=3{cursor}").json
        codes += [node["code"] for node in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert codes == ["1", "1.1", "1.1.1", "1.1.2"]
    nodes = {node["code"]: node for node in member.get(url).json["items"]}
    assert nodes["1.1.1"]["parent"] == "1.1"
    assert nodes["1.1.1"]["estimate"] == {"min": None, "likely": 2, "max": None}
    assert nodes["1.1.2"]["prerequisites"] == ["1.1.1"]
    assert nodes["1"]["title"] == "First"
    assert member.get(f"{url}?cursor=nonsense").status_code == 422


def test_the_graph_says_what_waits_for_what_under_each_ordering(member: Key) -> None:
    made = bring(
        member,
        plan(
            phase(task(subtask(estimate=2), subtask(estimate=3)), prerequisites=["2"]),
            phase(task(subtask(estimate=5))),
        ),
    )
    url = f"/api/plans/{made['id']}/graph"
    graph = member.get(url).json
    assert graph["ordering"] == "phased"
    assert graph["edges"] == [
        {"job": "1.1.1", "prerequisite": "2.1.1"},
        {"job": "1.1.2", "prerequisite": "1.1.1"},
    ]
    assert [(node["code"], node["days"], node["rank"]) for node in graph["nodes"]] == [
        ("2.1.1", 5, 10),
        ("1.1.1", 2, 5),
        ("1.1.2", 3, 3),
    ]
    [overruled] = graph["overruled"]
    assert (overruled["first"], overruled["then"]) == ("1", "2")
    free = member.get(f"{url}?ordering=free").json
    assert {(edge["job"], edge["prerequisite"]) for edge in free["edges"]} == {
        ("1.1.1", "2.1.1"),
        ("1.1.2", "2.1.1"),
    }
    assert member.get(f"{url}?ordering=any").status_code == 422


def test_a_plan_in_use_is_not_deleted(database: Database, member: Key) -> None:
    made = bring(member, grid(1, 1, 1))
    with database.transaction() as tx:
        create_execution(tx, uuid.UUID(made["id"]), member.id, timeout_seconds=60)
    answer = member.delete(f"/api/plans/{made['id']}")
    assert answer.status_code == 409
    assert answer.json["executions"] == 1


def test_a_plan_that_nobody_uses_is_deleted_and_the_audit_log_says_by_whom(
    database: Database, member: Key
) -> None:
    made = bring(member, grid(1, 1, 1))
    assert member.delete(f"/api/plans/{made['id']}").status_code == 204
    assert member.get(f"/api/plans/{made['id']}").status_code == 404
    assert member.delete(f"/api/plans/{made['id']}").status_code == 404
    with database.transaction() as tx:
        entry = tx.fetch("SELECT * FROM audit_entries WHERE action = 'plan_deleted'")
    assert (entry["actor"], str(entry["object_id"])) == (f"user:{member.id}", made["id"])
    assert bring(member, grid(1, 1, 1))["id"] != made["id"]


def test_a_plan_is_its_owners_and_operators_see_all(
    member: Key, operator: Key, admin: Key, people: People
) -> None:
    made = bring(member, grid(1, 1, 1))
    stranger = people.user("member")
    doors = ("", "/tasks", "/graph")
    for door in doors:
        assert stranger.get(f"/api/plans/{made['id']}{door}").status_code == 404
        assert operator.get(f"/api/plans/{made['id']}{door}").status_code == 200
        assert admin.get(f"/api/plans/{made['id']}{door}").status_code == 200
    assert stranger.delete(f"/api/plans/{made['id']}").status_code == 404
    assert stranger.get("/api/plans").json["items"] == []
    assert [each["id"] for each in operator.get("/api/plans").json["items"]] == [made["id"]]
    others = bring(stranger, grid(1, 1, 1))
    assert others["id"] != made["id"]
    assert operator.delete(f"/api/plans/{made['id']}").status_code == 204


def test_agents_and_callers_without_a_key_get_no_plan(
    member: Key, people: People, client: FlaskClient
) -> None:
    made = bring(member, grid(1, 1, 1))
    agent = people.agent()
    for method, path in (
        ("GET", "/api/plans"),
        ("POST", "/api/plans"),
        ("GET", f"/api/plans/{made['id']}"),
        ("GET", f"/api/plans/{made['id']}/tasks"),
        ("GET", f"/api/plans/{made['id']}/graph"),
        ("DELETE", f"/api/plans/{made['id']}"),
    ):
        assert agent.call(method, path).status_code == 403
        assert client.open(path, method=method).status_code == 401


def test_the_schema_is_served_to_everybody_and_fits_the_examples(client: FlaskClient) -> None:
    answer = client.get("/api/schemas/plan.json")
    assert answer.status_code == 200
    assert answer.json["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    fits = jsonschema_rs.validator_for(answer.json)
    for path in EXAMPLES.glob("*.json"):
        fits.validate(json.loads(path.read_text()))
    assert not fits.is_valid(plan(phase(task(unknown=1))))
    assert not fits.is_valid(plan(phase(task(priority="urgent"))))
    assert fits.is_valid(plan(phase(task(priority="high", estimate={"likely": 1}))))


def test_two_agents_can_finish_the_example_alone() -> None:
    content = (EXAMPLES / "office-move.json").read_bytes()
    draft = read(GenericPlan.model_validate_json(content))
    leaves = draft.leaves()
    assert 35 <= len(leaves) <= 45
    assert len({leaf.role for leaf in leaves}) == 3
    assert {leaf.action for leaf in leaves} == {
        "research",
        "write_document",
        "review",
        "calculate",
        "schedule",
        "send_message",
    }
    assert all(leaf.agent_executable and leaf.tier == 1 for leaf in leaves)
    assert all("approval" not in leaf.handling for leaf in leaves)
    assert all(leaf.acceptance and leaf.description for leaf in leaves)
