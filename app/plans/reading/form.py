"""The generic JSON form of a plan: its types, from which its schema is made."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from app.plans.actions import ACTION, RESERVED

LONGEST_DAYS: Final = 36_500
LARGEST_PARAMS: Final = 100_000
PRIORITIES: Final = {"critical": 9, "high": 7, "medium": 5, "low": 3}


class Form(BaseModel):
    """Unknown fields are refused by name; "1" is no number and 1 is no text."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


def check_line(text: str) -> str:
    """Titles stand in one line of lists and logs."""
    if not text.isprintable() or not text.strip():
        raise ValueError("must be one line of printable text")
    return text


def check_action(text: str) -> str:
    if not re.fullmatch(ACTION, text):
        raise ValueError("must be small letters, digits, _ and -, a letter first, 64 at most")
    if text in RESERVED:
        raise ValueError(
            f"{text} is no action: say agent_executable: false for what people are to do"
        )
    return text


def check_params(values: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(orjson.dumps(values))
    except TypeError as fault:
        raise ValueError("holds a whole number of more than 64 bits: send it as text") from fault
    if size > LARGEST_PARAMS:
        raise ValueError(f"holds {size:,} bytes; {LARGEST_PARAMS:,} at most")
    return values


def read_priority(value: Any) -> Any:
    """9 is first. The words stand for 9, 7, 5 and 3."""
    if isinstance(value, str) and value in PRIORITIES:
        return PRIORITIES[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value not in range(10):
        raise ValueError("must be a whole number from 0 to 9, or critical, high, medium or low")
    return int(value)


def read_estimate(value: Any) -> Any:
    """A bare number of days is the likely one."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= LONGEST_DAYS:
            raise ValueError(f"must be from 0 to {LONGEST_DAYS:,} days")
        return {"likely": value}
    if not isinstance(value, dict):
        raise ValueError("must be a number of days, or an object with min, likely and max")
    return value


Code = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\w[\w.:-]*$")]
Title = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(check_line)]
Text = Annotated[str, Field(max_length=50_000)]
Days = Annotated[float, Field(ge=0, le=LONGEST_DAYS)]
Action = Annotated[
    str, AfterValidator(check_action), WithJsonSchema({"type": "string", "pattern": ACTION})
]
Params = Annotated[dict[str, Any], AfterValidator(check_params)]
Priority = Annotated[
    int,
    BeforeValidator(read_priority),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 9},
                {"enum": list(PRIORITIES)},
            ],
            "description": "9 is first; critical is 9, high 7, medium 5, low 3",
        }
    ),
]
Prerequisites = Annotated[
    list[Annotated[str, Field(max_length=64)]],
    Field(
        max_length=1_000,
        description="Codes of phases, tasks or subtasks anywhere in the plan that come first",
    ),
]


class Estimate(Form):
    """Days of work: the likely number, and between what it may lie."""

    min: Days | None = None
    likely: Days
    max: Days | None = None


DAYS_SCHEMA: Final = {"type": "number", "minimum": 0, "maximum": LONGEST_DAYS}
Estimated = Annotated[
    Estimate,
    BeforeValidator(read_estimate),
    WithJsonSchema(
        {
            "anyOf": [
                DAYS_SCHEMA,
                {
                    "type": "object",
                    "properties": {"min": DAYS_SCHEMA, "likely": DAYS_SCHEMA, "max": DAYS_SCHEMA},
                    "required": ["likely"],
                    "additionalProperties": False,
                },
            ],
            "description": "Days: a number, or min, likely and max in that order",
        }
    ),
]


class RetryPolicy(Form):
    """Waits before further attempts: each twice as long as the last, up to the cap."""

    base_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30
    cap_seconds: Annotated[float, Field(ge=0, le=30 * 86_400)] = 3_600
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2


class Work(Form):
    """What a task and a subtask say of the job that they stand for.

    What a task says of how its work is done holds for its subtasks, unless they say otherwise.
    """

    code: Code | None = Field(default=None, description="Its position (1.2.3) unless given")
    title: Title
    description: Text = Field(default="", description="What is to be done, for whoever does it")
    role: Annotated[str, Field(max_length=200)] | None = None
    estimate: Estimated | None = None
    prerequisites: Prerequisites = []
    action: Action | None = Field(
        default=None,
        description="What an agent must be able to do to take it; general unless given",
    )
    params: Params = Field(default={}, description="What the action needs to know")
    acceptance: Annotated[list[Annotated[str, Field(max_length=2_000)]], Field(max_length=100)] = (
        Field(default=[], description="How to tell that it is done")
    )
    agent_executable: bool = Field(default=True, description="False: people do it")
    confidence: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="That an agent can do it alone"
    )
    tier: Literal[1, 2, 3] | None = Field(
        default=None, description="1 an agent, 2 an agent with approval, 3 a person"
    )
    risk: Literal["reversible", "costly", "irreversible"] = "reversible"
    approval: Literal["none", "before", "after"] | None = Field(
        default=None, description="Whether a person decides before it starts, or on its result"
    )
    priority: Priority | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=31_622_400)] | None = Field(
        default=None, description="How long one attempt may take; a day unless given"
    )
    max_attempts: Annotated[int, Field(ge=1, le=100)] | None = None
    optional: bool = Field(default=False, description="The plan is complete without it")
    retry_policy: RetryPolicy | None = None
    on_exhausted: Literal["escalate", "fail"] | None = Field(
        default=None, description="When attempts are used up: ask a person, or fail"
    )


class Subtask(Work):
    pass


class Task(Work):
    subtasks: list[Subtask] = Field(
        default=[], description="Each is a job; a task without any is one job itself"
    )


class Phase(Form):
    code: Code | None = Field(default=None, description="Its position (1) unless given")
    title: Title
    description: Text = ""
    estimate: Estimated | None = None
    prerequisites: Prerequisites = []
    tasks: list[Task] = Field(description="At least one")


class GenericPlan(Form):
    """A plan: phases of tasks of subtasks. The leaves are the jobs that are handed out."""

    model_config = ConfigDict(title="Taskyard plan")

    title: Title
    goal: Text = Field(default="", description="What all of it is for; agents are told")
    phases: list[Phase] = Field(description="At least one")


def schema() -> dict[str, Any]:
    """The JSON Schema of the form, as it is served."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **GenericPlan.model_json_schema(),
    }
