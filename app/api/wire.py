"""What goes over the wire: the base types of bodies, queries and answers.

Bodies are strict: "1" is no number and 1 is no text, as the OpenAPI document says. One thing is
let through that JSON itself does not tell apart: 1.0 where a whole number is meant.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from app.db import storable

LARGEST: Final = 2**63 - 1
# A name stands in one line of lists and logs: something to see, no control character, no new line.
# Written out, because JSON Schema, Rust and Python agree on no shorter way.
_SEEN: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
WEB_ADDRESS: Final = "^https?://[!-~]+$"
CURSOR: Final = "^[A-Za-z0-9_-]{22}$"
ONE_LINE: Final = rf"^[^{_SEEN}]*[^\s{_SEEN}][^{_SEEN}]*$"
FLAGS: Final = {"1": True, "0": False, "true": True, "false": False}
RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class Body(BaseModel):
    """What is sent as JSON. Unknown fields are refused by name."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Query(BaseModel):
    """What is sent behind the question mark: text, read as what each field expects."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Answer(BaseModel):
    """What is sent back. Made from records or from plain values."""

    model_config = ConfigDict(from_attributes=True, extra="forbid")


def read_moment(value: Any) -> Any:
    """RFC 3339 with its zone. Pydantic alone would also take a bare number for seconds."""
    if isinstance(value, str):
        if not RFC_3339.fullmatch(value):
            raise ValueError("expected a time such as 2026-11-20T09:30:00Z, with its zone")
        try:
            return dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            raise ValueError("there is no such time") from None
    return value


def write_moment(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def read_flag(value: Any) -> Any:
    """For queries. Pydantic alone would also take yes, off, t and more, which no document says."""
    if isinstance(value, str) and value not in FLAGS:
        raise ValueError("must be 1, 0, true or false")
    return FLAGS[value] if isinstance(value, str) else value


Moment = Annotated[
    dt.datetime,
    BeforeValidator(read_moment),
    PlainSerializer(write_moment, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
JsonObject = Annotated[dict[str, Any], AfterValidator(storable)]
JsonValue = Annotated[Any, AfterValidator(storable)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=ONE_LINE)]
Flag = Annotated[
    bool, BeforeValidator(read_flag), WithJsonSchema({"enum": ["1", "0", "true", "false"]})
]


class FieldFault(BaseModel):
    """One thing wrong with what was sent."""

    pointer: str = Field(
        description="JSON pointer into the body, or ?name for a query parameter",
        examples=["/capabilities/0/action"],
    )
    detail: str


class Problem(BaseModel):
    """An RFC 9457 problem document. Some carry further members that programs may use."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = Field(default=None, description="What to try")
    errors: list[FieldFault] | None = None
    request_id: str
