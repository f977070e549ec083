"""What can be refused, in the domain's words. One sentence each, facts as fields, no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with what was sent: where (a JSON pointer) and what."""

    pointer: str
    detail: str


class TaskyardError(Exception):
    """The root: `detail` says what happened, `hint` what to try, `facts` are for programs."""

    title = "Something went wrong"

    def __init__(self, detail: str, *, hint: str | None = None, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.facts = facts


class Missing(TaskyardError):
    """There is no such thing, or none that the caller may see."""

    title = "Not found"


class Refused(TaskyardError):
    """The state of things does not allow it."""

    title = "Not possible now"


class Forbidden(TaskyardError):
    """The caller is known, and may not."""

    title = "Not allowed"


class Unauthenticated(TaskyardError):
    """Nobody knows who calls."""

    title = "Who are you?"


class Unavailable(TaskyardError):
    """A server that this needs does not answer."""

    title = "Temporarily unavailable"


class TooMany(TaskyardError):
    """The caller asks more often than its limit allows."""

    title = "Too many requests"


class Invalid(TaskyardError):
    """What was sent cannot be read as what is expected."""

    title = "Invalid input"

    def __init__(
        self, detail: str, faults: Sequence[Fault] = (), *, hint: str | None = None, **facts: Any
    ) -> None:
        super().__init__(detail, hint=hint, **facts)
        self.faults = tuple(faults)
