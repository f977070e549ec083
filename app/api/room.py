"""How a route is written. A room is a set of doors that belong together.

    room = Room("agents", "Whoever does jobs.")

    @room.post("/api/agents", status=201)
    def register(caller: Caller, body: Registration) -> Registered:
        \"\"\"Register an agent.\"\"\"

The signature says everything: `caller` makes it need a key, `body` and `query` are read into their
types, what is in angle brackets in the address comes by its name, and the return type is the
answer. The OpenAPI document is made from the same signature.
"""

from __future__ import annotations

import inspect
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, get_type_hints

import orjson
from flask import Response, current_app, request
from flask.blueprints import BlueprintSetupState
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.media_type import MediaType
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, create_model

from app.accounts.policy import Caller
from app.api.callers import Key, address, identify, read_key
from app.api.limits import OTHERS, Limits, Pair
from app.api.reading import read_body, read_query

View = TypeVar("View", bound=Callable[..., Any])

PROBLEM: Final[dict[str, Any]] = {
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
}
PROBLEMS: Final = (400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 503)
PLACE: Final = re.compile(r"<(?:(?P<kind>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")
KINDS: Final[dict[str | None, Any]] = {"uuid": uuid.UUID, "int": int, None: str}


class Room:
    """Doors of one subject; its blueprint is what the app registers."""

    def __init__(self, name: str, about: str) -> None:
        self.blueprint = APIBlueprint(
            name,
            __name__,
            abp_tags=[Tag(name=name, description=about)],
            abp_responses={status: dict(PROBLEM) for status in PROBLEMS},
            operation_id_callback=lambda **names: f"{name}_{names['name']}",
        )
        self._names: set[str] = set()

    def get(self, rule: str, **how: Any) -> Callable[[View], View]:
        return self._door("get", rule, **how)

    def post(self, rule: str, **how: Any) -> Callable[[View], View]:
        return self._door("post", rule, **how)

    def put(self, rule: str, **how: Any) -> Callable[[View], View]:
        return self._door("put", rule, **how)

    def patch(self, rule: str, **how: Any) -> Callable[[View], View]:
        return self._door("patch", rule, **how)

    def delete(self, rule: str, **how: Any) -> Callable[[View], View]:
        return self._door("delete", rule, **how)

    def _door(
        self,
        method: str,
        rule: str,
        *,
        status: int = 200,
        limit: Pair | None = OTHERS,
        max_body: int | None = None,
        answers: Mapping[int, type[BaseModel] | None] | None = None,
        body: type[BaseModel] | None = None,
        query: type[BaseModel] | None = None,
        also_takes: Mapping[str, dict[str, Any]] | None = None,
        websocket: bool = False,
    ) -> Callable[[View], View]:
        """`body` and `query` given here are only declared: the view reads them itself.

        `answers` adds further statuses; `max_body` lifts the limit of one mebibyte; `also_takes`
        names other media types with their schemas; a `websocket` is asked for as one, or not found.
        """

        def build(view: View) -> View:
            hints = get_type_hints(view)
            wanted = inspect.signature(view).parameters
            read = {name: hints[name] for name in ("body", "query") if name in wanted}
            declared = {"body": body or read.get("body"), "query": query or read.get("query")}
            answered = hints.get("return")
            replies: dict[int, Any] = {}
            if inspect.isclass(answered) and issubclass(answered, BaseModel):
                replies[status] = answered
            elif answered is type(None):
                replies[204] = None
            replies |= answers or {}
            if not replies:
                replies[status] = {"content": {"application/json": {"schema": {}}}}

            door = open_door(view, status, limit, read, wanted)
            door.__name__ = self._name(view.__name__, method)
            door.__doc__ = view.__doc__
            door.__annotations__ = {
                **{name: model for name, model in declared.items() if model is not None},
                **places(rule),
            }
            # flask-openapi is to describe the door, not to stand in it: its own way of reading
            # makes a JSON schema of the query's type at each request.
            door.__delay_validate_request__ = True  # type: ignore[attr-defined]
            door.view = door  # type: ignore[attr-defined]
            public = not ({"caller", "key"} & set(wanted))
            decorate = getattr(self.blueprint, method)
            decorate(
                rule,
                responses=replies,
                openapi_extensions={"security": []} if public else None,
                websocket=websocket,
            )(door)
            self._declare(method, rule, declared["body"], also_takes)
            if max_body is not None:
                self._lift(door.__name__, max_body)
            return view

        return build

    def _name(self, name: str, method: str) -> str:
        """One view may stand behind two methods; each door needs a name of its own."""
        name = f"{name}_by_{method}" if name in self._names else name
        self._names.add(name)
        return name

    def _declare(
        self,
        method: str,
        rule: str,
        body: type[BaseModel] | None,
        also_takes: Mapping[str, dict[str, Any]] | None,
    ) -> None:
        """An empty body is an empty object, so one without required fields may be left out."""
        uri = PLACE.sub(r"{\g<name>}", rule)
        taken = getattr(self.blueprint.paths[uri], method).requestBody
        if taken is None or body is None:
            return
        taken.required = any(field.is_required() for field in body.model_fields.values())
        for media_type, schema in (also_takes or {}).items():
            taken.content[media_type] = MediaType.model_validate({"schema": schema})

    def _lift(self, name: str, max_body: int) -> None:
        def note(state: BlueprintSetupState) -> None:
            sizes = state.app.extensions["taskyard.sizes"]
            sizes[f"{self.blueprint.name}.{name}"] = max_body

        self.blueprint.record(note)


def limits() -> Limits:
    found: Limits = current_app.extensions["taskyard.limits"]
    return found


def open_door(
    view: Callable[..., Any],
    status: int,
    limit: Pair | None,
    read: Mapping[str, type[BaseModel]],
    wanted: Mapping[str, Any],
) -> Callable[..., Response]:
    """The view with what stands before it: limits, who calls, what was sent; and its answer."""
    body, query = read.get("body"), read.get("query")
    needs_caller, needs_key = "caller" in wanted, "key" in wanted

    def door(**given: Any) -> Response:
        purses = limits() if limit is not None else None
        if purses is not None and limit is not None:
            purses.take(limit.address, address())
        if needs_key:
            key: Key = read_key()
            if purses is not None and limit is not None:
                purses.take(limit.key, key.digest.hex())
            given["key"] = key
        elif needs_caller:
            caller: Caller = identify()
            if purses is not None and limit is not None:
                purses.take(limit.key, str(caller.token_id or caller.id))
            given["caller"] = caller
        if query is not None:
            asked = dict(request.args.lists()) if request.query_string else {}
            given["query"] = read_query(asked, query)
        if body is not None:
            given["body"] = read_body(request, body)
        return write(view(**given), status)

    return door


def write(answer: Any, status: int) -> Response:
    """A type, plain values, or nothing, as JSON."""
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status=204)
    if isinstance(answer, BaseModel):
        return Response(
            answer.model_dump_json(by_alias=True), status, content_type="application/json"
        )
    raw = orjson.dumps(answer, option=orjson.OPT_UTC_Z)
    return Response(raw, status, content_type="application/json")


def places(rule: str) -> dict[str, Any]:
    """The variable parts of an address, as a type for the document."""
    found: dict[str, Any] = {
        place["name"]: (KINDS[place["kind"]], ...) for place in PLACE.finditer(rule)
    }
    return {"path": create_model("Path", **found)} if found else {}
