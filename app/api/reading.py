"""Reading what was sent: JSON bodies and queries, into their types or into one refusal."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar, get_args

import orjson
from flask import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from app.api.wire import CURSOR, ONE_LINE, WEB_ADDRESS
from app.errors import Fault, Invalid

M = TypeVar("M", bound=BaseModel)

MOST_FAULTS: Final = 50
NUL_ESCAPED: Final = b"\\u0000"

PATTERNS: Final = {
    ONE_LINE: "must be one line of text with something to see in it",
    WEB_ADDRESS: "must be an address that begins with http:// or https://",
    CURSOR: "must be the next_cursor of a page, as it was",
}
SENTENCES: Final = {
    "missing": "is required",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "uuid_parsing": "must be an id (a UUID)",
    "uuid_type": "must be an id (a UUID)",
}


def read_body(request: Request, model: type[M]) -> M:
    """The body as its type. An empty one is an empty object."""
    return read_json(read_raw(request), model)


def read_data(request: Request) -> Any:
    """The body as plain values, for a door that finds out by itself what they are."""
    return parse(read_raw(request))


def read_raw(request: Request) -> bytes:
    raw = request.get_data(cache=True)
    if len(raw) == request.max_content_length and request.content_length is None:
        # Of a body that did not say its length, reading just stops here: this is a piece of it.
        raise RequestEntityTooLarge()
    if not raw:
        raw = b"{}"
    elif request.environ.get("CONTENT_TYPE") != "application/json" and not request.is_json:
        raise UnsupportedMediaType(
            "This takes JSON: send it with the header Content-Type: application/json."
        )
    return raw


def read_json(raw: bytes, model: type[M]) -> M:
    """Two parsers look at it: orjson refuses what is no JSON (NaN, half a surrogate, broken UTF-8),
    pydantic what is not the type. Together they cost a few microseconds."""
    data = parse(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as fault:
        found = fault.errors(include_url=False)
        if any(error["type"] == "json_invalid" for error in found):
            raise BadRequest("The body is nested more deeply than 200 levels.") from fault
        if make_whole(data, found):
            try:
                return model.model_validate_json(orjson.dumps(data))
            except ValidationError as again:
                found = again.errors(include_url=False)
        raise invalid_body(found, model) from fault


def parse(raw: bytes) -> Any:
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        raise BadRequest(f"The body is not valid JSON: {fault.msg} at byte {fault.pos}.") from fault
    if NUL_ESCAPED in raw:
        refuse_nul(data)
    return data


def make_whole(data: Any, found: Sequence[ErrorDetails]) -> bool:
    """Turns 1.0 into 1 where a whole number is expected: in JSON they are the same number."""
    changed = False
    for error in found:
        value = error["input"]
        if error["type"] != "int_type" or not isinstance(value, float) or not value.is_integer():
            continue
        *parents, last = error["loc"]
        place = data
        for step in parents:
            if isinstance(place, (dict, list)):
                place = find_step(place, step)
        try:
            if place[last] == value:
                place[last] = int(value)
                changed = True
        except (KeyError, IndexError, TypeError):
            continue
    return changed


def find_step(place: Any, step: int | str) -> Any:
    """One step down; none where pydantic names a branch of a union, which nobody sent."""
    try:
        return place[step]
    except (KeyError, IndexError, TypeError):
        return place


def refuse_nul(data: Any) -> None:
    """PostgreSQL keeps no NUL in text; refused here, where the place can be named."""
    places = [Fault(where, "holds a NUL character") for where in find_nul(data)][:MOST_FAULTS]
    if places:
        raise Invalid(
            "Text may not hold NUL characters (\\u0000).",
            places,
            hint="Remove them, or send the bytes as base64.",
        )


def find_nul(data: Any) -> Iterator[str]:
    waiting: list[tuple[str, Any]] = [("", data)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, str):
            if "\0" in value:
                yield where
        elif isinstance(value, dict):
            for name, item in value.items():
                if "\0" in name:
                    yield where
                waiting.append((f"{where}/{escape(name)}", item))
        elif isinstance(value, list):
            waiting += [(f"{where}/{place}", item) for place, item in enumerate(value)]


def read_query(args: Mapping[str, Sequence[str]], model: type[M]) -> M:
    """The query as its type, from every value that each name was given."""
    lists = list_fields(model)
    values: dict[str, Any] = {}
    for name, given in args.items():
        if any("\0" in text for text in given):
            raise Invalid("A query holds a NUL character.", [Fault(f"?{name}", "holds a NUL")])
        if name in lists:
            values[name] = [part for text in given for part in text.split(",") if part]
        elif len(given) > 1:
            raise Invalid(
                f"The query names {printable(name)} twice.", [Fault(f"?{name}", "is given twice")]
            )
        else:
            values[name] = given[0]
    try:
        return model.model_validate(values)
    except ValidationError as fault:
        raise invalid_query(fault.errors(include_url=False), model) from fault


@lru_cache(maxsize=256)
def list_fields(model: type[BaseModel]) -> frozenset[str]:
    """The fields that may be repeated, or hold several values with commas between."""
    return frozenset(
        field.alias or name
        for name, field in model.model_fields.items()
        if "list[" in str(field.annotation) or list in get_args(field.annotation)
    )


def invalid_body(found: Sequence[ErrorDetails], model: type[BaseModel]) -> Invalid:
    return invalid("The body", [_read_fault(error, model, "/") for error in found])


def invalid_query(found: Sequence[ErrorDetails], model: type[BaseModel]) -> Invalid:
    return invalid("The query", [_read_fault(error, model, "?") for error in found])


def invalid(what: str, faults: Sequence[Fault]) -> Invalid:
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    where = first.pointer or "it"
    return Invalid(
        f"{what} cannot be read: {where} {first.detail}{more}.",
        faults[:MOST_FAULTS],
        hint="The types of every field are at /api/docs.",
    )


def _read_fault(error: ErrorDetails, model: type[BaseModel], mark: str) -> Fault:
    path = [step for step in error["loc"] if not _is_a_branch(step)]
    if mark == "?":
        pointer = "?" + printable(".".join(str(step) for step in path))
    else:
        pointer = "".join(f"/{escape(str(step))}" for step in path)
    return Fault(pointer, _say(error, model, path))


def _is_a_branch(step: int | str) -> bool:
    """Pydantic names the branch of a union in the path; the caller sent nothing of the kind."""
    return isinstance(step, str) and ("[" in step or step in ("str", "int", "float", "bool"))


def _say(error: ErrorDetails, model: type[BaseModel], path: Sequence[int | str]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()]
        near = difflib.get_close_matches(str(path[-1]), known, n=1) if len(path) == 1 else []
        return "is not known here" + (f"; perhaps {near[0]} is meant" if near else "")
    if kind in SENTENCES:
        return SENTENCES[kind]
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(error["ctx"]["pattern"], f"must match {error['ctx']['pattern']}")
    if kind == "value_error":
        return str(error.get("ctx", {}).get("error", error["msg"]))
    message = error["msg"]
    return message[:1].lower() + message[1:].replace("Input should", "should")


def escape(name: str) -> str:
    """One step of a JSON pointer."""
    return printable(name.replace("~", "~0").replace("/", "~1"))


def printable(text: str) -> str:
    """Safe to write into logs and answers: no control characters, not without end."""
    short = text if len(text) <= 100 else text[:99] + "…"
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in short)
