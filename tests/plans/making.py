"""Plans to test with, in the generic form."""

from __future__ import annotations

from typing import Any

from app.plans.draft import DraftPlan
from app.plans.reading.form import GenericPlan
from app.plans.reading.generic import read

Json = dict[str, Any]


def subtask(title: str = "Do it", **more: Any) -> Json:
    return {"title": title, "action": "write", **more}


def task(*subtasks: Json, title: str = "Task", **more: Any) -> Json:
    return {"title": title, "subtasks": list(subtasks), **more}


def phase(*tasks: Json, title: str = "Phase", **more: Any) -> Json:
    return {"title": title, "tasks": list(tasks), **more}


def plan(*phases: Json, title: str = "A plan", **more: Any) -> Json:
    return {"title": title, "goal": "To test.", "phases": list(phases), **more}


def grid(phases: int, tasks: int, subtasks: int, **every: Any) -> Json:
    """A plan of so many phases of so many tasks of so many subtasks."""
    return plan(
        *(
            phase(*(task(*(subtask(**every) for _ in range(subtasks))) for _ in range(tasks)))
            for _ in range(phases)
        )
    )


def draft(form: Json) -> DraftPlan:
    return read(GenericPlan.model_validate(form))
