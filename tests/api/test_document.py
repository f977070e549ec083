"""The OpenAPI document says what the doors do, and loses nothing of their types."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import BaseModel

from app.api import rooms
from app.api.document import document
from app.api.wire import Body, Query

PUBLIC = {"/api/auth/token", "/api/health", "/api/ready", "/api/schemas/plan.json"}
LOST_ON_PURPOSE = {"$defs", "title", "default"}


@pytest.fixture
def written(app: Flask) -> dict[str, Any]:
    return document(app)


def kinds(base: type[BaseModel]) -> list[type[BaseModel]]:
    found = []
    for kind in base.__subclasses__():
        found += [kind, *kinds(kind)]
    return [kind for kind in found if kind.__module__.startswith("app.")]


def test_it_is_served_and_is_3_1_or_newer(client: FlaskClient) -> None:
    answer = client.get("/api/openapi.json")
    assert answer.status_code == 200
    assert answer.json is not None
    assert tuple(map(int, answer.json["openapi"].split("."))) >= (3, 1)
    assert answer.json["info"]["title"] == "Taskyard"
    assert set(answer.json["components"]["securitySchemes"]) == {"bearer", "session"}


def test_every_json_door_is_in_it(app: Flask, written: dict[str, Any]) -> None:
    hidden = {"/api/openapi.json", "/api/docs"}
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/api/") or rule.rule in hidden:
            continue
        path = rule.rule.replace("<uuid:", "{").replace("<", "{").replace(">", "}")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert method.lower() in written["paths"].get(path, {}), (method, path)


def test_every_door_tells_its_problems_and_whether_it_needs_a_key(
    written: dict[str, Any],
) -> None:
    public = set()
    ids = []
    for path, item in written["paths"].items():
        for method, door in item.items():
            ids.append(door["operationId"])
            assert door["summary"].endswith((".", "?", ";")), (method, path)
            for status in ("400", "401", "403", "404", "405", "409", "413", "415", "422", "429"):
                content = door["responses"][status]["content"]
                assert list(content) == ["application/problem+json"], (method, path, status)
            if door.get("security") == []:
                public.add(path)
    assert public <= PUBLIC
    assert len(ids) == len(set(ids))
    assert written["security"] == [{"bearer": []}, {"session": []}]


def test_it_says_that_unknown_fields_are_refused(written: dict[str, Any]) -> None:
    for kind in kinds(Body):
        schema = written["components"]["schemas"].get(kind.__name__)
        if schema is not None and "properties" in schema:
            assert schema["additionalProperties"] is False, kind


def test_no_keyword_of_a_type_is_lost(written: dict[str, Any]) -> None:
    """flask-openapi keeps the keywords that it knows; one that it drops must be seen here."""
    for kind in kinds(Body):
        if kind.__name__ in written["components"]["schemas"]:
            shown = written["components"]["schemas"][kind.__name__]
            compare(kind.model_json_schema(), shown, kind.__name__)


def compare(meant: Any, shown: Any, where: str) -> None:
    if isinstance(meant, dict):
        for name, value in meant.items():
            if name in LOST_ON_PURPOSE and not where.endswith("/properties"):
                continue
            assert name in shown, f"{where}/{name}"
            if name == "$ref":
                continue
            compare(value, shown[name], f"{where}/{name}")
    elif isinstance(meant, list):
        assert len(meant) == len(shown), where
        for place, value in enumerate(meant):
            compare(value, shown[place], f"{where}/{place}")
    else:
        assert meant == shown, where


def test_free_json_is_always_checked(app: Flask) -> None:
    """A plain `Any` in a body would let numbers through that cannot be written again."""
    for kind in kinds(Body):
        for name, field in kind.model_fields.items():
            told = str(field.annotation)
            assert "Any" not in told or field.metadata or "storable" in told, (kind, name)


def test_queries_refuse_what_they_do_not_know() -> None:
    for kind in kinds(Query):
        assert kind.model_config["extra"] == "forbid", kind


def test_the_page_shows_every_door(client: FlaskClient, written: dict[str, Any]) -> None:
    page = client.get("/api/docs").text
    for path, item in written["paths"].items():
        assert path in page
        for door in item.values():
            assert f'id="{door["operationId"]}"' in page


def test_every_room_is_registered_once() -> None:
    names = [room.blueprint.name for room in rooms()]
    assert len(names) == len(set(names))
