"""The document, and a page to read it at: plain HTML, nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson
from flask import Blueprint, Response, current_app, render_template

from app.api.document import document

pages = Blueprint("reference", __name__)

METHODS: Final = ("get", "post", "put", "patch", "delete")
DEEPEST: Final = 4
BOUNDS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "pattern": "matches {}",
    "default": "{} unless set",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a table of fields; `name` leads there from the outermost object."""

    name: str
    kind: str
    required: bool
    about: str


@pages.get("/api/openapi.json")
def read_document() -> Response:
    return Response(orjson.dumps(document(current_app)), content_type="application/json")


@pages.get("/api/docs")
def read_reference() -> str:
    found = document(current_app)
    about = {tag["name"]: tag.get("description", "") for tag in found.get("tags", [])}
    rooms: dict[str, list[dict[str, Any]]] = {name: [] for name in about}
    for path, item in found["paths"].items():
        for method in METHODS:
            if method in item:
                door = item[method]
                rooms.setdefault(door["tags"][0], []).append(show(found, method, path, door))
    return render_template("api/docs.html", info=found["info"], about=about, rooms=rooms)


def show(found: dict[str, Any], method: str, path: str, door: dict[str, Any]) -> dict[str, Any]:
    """One operation as the page shows it; the problems that all share are said once, on top."""
    body = door.get("requestBody", {}).get("content", {})
    answers = {
        status: list(fields(found, schema_of(answer)))
        for status, answer in sorted(door["responses"].items())
        if status.startswith("2")
    }
    return {
        "id": door["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": door.get("summary", ""),
        "description": door.get("description", "").replace("<br/>", "\n").strip(),
        "public": door.get("security") == [],
        "parameters": [
            Field(
                each["name"],
                f"{kind_of(found, each['schema'])}, in the {each['in']}",
                each.get("required", False),
                about_of(each["schema"]),
            )
            for each in door.get("parameters", [])
        ],
        "body": {media: list(fields(found, one.get("schema", {}))) for media, one in body.items()},
        "answers": answers,
    }


def schema_of(answer: dict[str, Any]) -> dict[str, Any]:
    for one in answer.get("content", {}).values():
        schema: dict[str, Any] = one.get("schema", {})
        return schema
    return {}


def fields(
    found: dict[str, Any], schema: dict[str, Any], before: str = "", depth: int = 0
) -> Iterator[Field]:
    """The fields of an object and of the objects in it, as far down as anybody reads."""
    schema = resolve(found, schema)
    for option in schema.get("anyOf", []) + schema.get("oneOf", []):
        if resolve(found, option).get("type") in ("object", "array"):
            yield from fields(found, option, before, depth)
    if schema.get("type") == "array":
        yield from fields(found, schema.get("items", {}), f"{before.rstrip('.')}[].", depth)
    for name, inner in schema.get("properties", {}).items():
        required = name in schema.get("required", [])
        yield Field(f"{before}{name}", kind_of(found, inner), required, about_of(inner))
        if depth < DEEPEST:
            yield from fields(found, inner, f"{before}{name}.", depth + 1)


def resolve(found: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rsplit("/", 1)[-1]
    inner: dict[str, Any] = found["components"]["schemas"].get(name, {})
    return inner


def kind_of(found: dict[str, Any], schema: dict[str, Any]) -> str:
    schema = resolve(found, schema)
    if "enum" in schema:
        return " | ".join(str(each) for each in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    options = schema.get("anyOf", []) + schema.get("oneOf", [])
    if options:
        kinds = [kind_of(found, each) for each in options]
        return " or ".join(dict.fromkeys(kinds))
    if schema.get("type") == "array":
        return f"list of {kind_of(found, schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any JSON")


def about_of(schema: dict[str, Any]) -> str:
    """What is said about a field, and its bounds."""
    words = [schema["description"]] if schema.get("description") else []
    for part in (schema, *schema.get("anyOf", [])):
        words += [
            text.format(plain(part[bound])) for bound, text in BOUNDS.items() if bound in part
        ]
    return "; ".join(dict.fromkeys(words))


def plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else orjson.dumps(value).decode()
