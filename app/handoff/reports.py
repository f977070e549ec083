"""What an agent can report: one type each, validated as it arrives, described by OpenAPI."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, get_args

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from app.db import storable

Text = Annotated[str, Field(max_length=10_000)]
Free = Annotated[Any, AfterValidator(storable)]
FreeObject = Annotated[dict[str, Any], AfterValidator(storable)]
Seconds = Annotated[int, Field(ge=0, le=30 * 86_400)]


class Said(BaseModel):
    """What every report carries."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    job_id: uuid.UUID
    token: Annotated[str, Field(min_length=1, max_length=200, description="The lease's token.")]
    message: Text = ""
    agent_timestamp: AwareDatetime | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    def digest(self) -> bytes:
        """What makes two reports the same: all they say, but for the key and the agent's clock."""
        said = self.model_dump(exclude={"idempotency_key", "agent_timestamp"})
        return hashlib.sha256(orjson.dumps(said, default=str, option=orjson.OPT_SORT_KEYS)).digest()


class Started(Said):
    type: Literal["started"]


class Heartbeat(Said):
    type: Literal["heartbeat"]


class Progress(Said):
    type: Literal["progress"]
    percent: Annotated[float, Field(ge=0, le=100)]


class Log(Said):
    type: Literal["log"]
    data: FreeObject = {}


class Usage(Said):
    type: Literal["usage"]
    tokens: Annotated[int, Field(ge=0, le=10**12)] = 0
    cost: Annotated[Decimal, Field(ge=0, le=10**6, max_digits=12, decimal_places=6)] = Decimal(0)
    model: Annotated[str, Field(max_length=200)] | None = None


class Completed(Said):
    type: Literal["completed"]
    output: Free = None
    human_review_required: bool = False


class Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    error_class: Annotated[
        Literal[
            "transient",
            "quota",
            "bad_input",
            "needs_human",
            "timeout",
            "decomposition_failed",
            "fatal",
        ],
        Field(alias="class"),
    ] = "transient"
    message: Text = ""
    suggestions: list[Text] = []
    reset_at: AwareDatetime | None = None


class Failed(Said):
    type: Literal["failed"]
    error: Fault


class Blocked(Said):
    type: Literal["blocked"]
    on: Annotated[str, Field(min_length=1, max_length=1000, description="What it waits for.")]
    max_wait: Seconds = 48 * 3600
    recheck_after: Annotated[int, Field(ge=1, le=30 * 86_400)] = 3600


class Released(Said):
    type: Literal["released"]


class Asked(Said):
    type: Literal["checkpoint"]
    kind: Literal["info", "approval", "question"] = "approval"
    title: Annotated[str, Field(min_length=1, max_length=500)]
    data: FreeObject = {}
    options: Annotated[list[Free], Field(max_length=50)] = []


class Part(BaseModel):
    """One of the smaller jobs that a job is broken into."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[\w.\-]+$")]
    title: Annotated[str, Field(min_length=1, max_length=500)]
    instructions: Text = ""
    action: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] | None = None
    params: FreeObject = {}
    prerequisites: Annotated[list[str], Field(max_length=100)] = []


class Decomposed(Said):
    type: Literal["decomposed"]
    jobs: Annotated[list[Part], Field(min_length=1, max_length=100)]


Report = (
    Started
    | Heartbeat
    | Progress
    | Log
    | Usage
    | Completed
    | Failed
    | Blocked
    | Released
    | Asked
    | Decomposed
)
AnyReport = Annotated[Report, Field(discriminator="type")]
KINDS: Final[dict[str, type[Report]]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(Report)
}
TERMINAL: Final = (Completed, Failed, Blocked, Released, Decomposed)

# Other spellings of the same, as plans' own documents have them.
TYPES: Final = {
    "task_started": "started",
    "task_complete": "completed",
    "task_error": "failed",
    "task_blocked": "blocked",
    "task_progress": "progress",
    "subtask_complete": "completed",
}
FIELDS: Final = {"event_type": "type", "task_id": "job_id"}
OTHERWISE: Final = {*FIELDS, "status", "error_type", "error_message"}


def respelled(raw: dict[str, Any]) -> dict[str, Any]:
    """The same report in our own spelling. What is unknown stays, to be refused by its name."""
    kind = raw.get("type")
    if not (isinstance(kind, str) and kind in TYPES) and OTHERWISE.isdisjoint(raw):
        return raw
    said = {FIELDS.get(name, name): value for name, value in raw.items()}
    kind = said.get("type")
    if isinstance(kind, str):
        said["type"] = TYPES.get(kind, kind)
    if said.get("status") == "BLOCKED":
        del said["status"]
        said["type"] = "blocked"
        said.setdefault("on", said.get("message") or "something outside")
    fault = {"class": said.pop("error_type", None), "message": said.pop("error_message", None)}
    if any(value is not None for value in fault.values()) and "error" not in said:
        if isinstance(fault["class"], str):
            fault["class"] = fault["class"].lower()
        said["error"] = {name: value for name, value in fault.items() if value is not None}
    return said


def reset_of(report: Report) -> dt.datetime | None:
    return report.error.reset_at if isinstance(report, Failed) else None
