"""What an agent's call says, and what it is answered."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from app.agents.calling import Agent
from app.db import Json
from app.errors import TaskyardError
from app.executions.rows import Execution, Job, Lease
from app.handoff.reports import Report


@dataclass(frozen=True, slots=True)
class Wish:
    """The work that an agent asks for."""

    most: int = 1
    seconds: int = 900
    actions: tuple[str, ...] | None = None
    claim: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an agent: reports on an execution, a wish for work, or both."""

    digest: bytes
    agent_id: uuid.UUID | None = None  # as the address names it, where it does
    execution_id: uuid.UUID | None = None
    reports: tuple[Report, ...] = ()
    wish: Wish | None = None
    # The execution that was in other hands at the first try: it is waited for this time.
    missed: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A job in an agent's hands: what one item of `work` tells of."""

    execution: Execution
    job: Job
    lease: Lease


@dataclass(frozen=True, slots=True)
class Later:
    """No answer yet: the call's execution is in other hands. Nothing was changed."""

    execution_id: uuid.UUID


@dataclass(slots=True)
class Answers:
    """To each report an answer or a refusal; and the work."""

    agent: Agent
    given: list[Json | TaskyardError] = field(default_factory=list)
    control: str = "continue"
    work: list[Held] = field(default_factory=list)
    standing: list[Json] = field(default_factory=list)  # what to pause or drop of what it holds
    barred: bool = False  # it may not work now, whatever there is; `standing` says why
    missed: uuid.UUID | None = None  # work was there, in another transaction's hands
    claim: str | None = None  # what the work is found by again, when this answer is lost

    @property
    def accepted(self) -> bool:
        return any(not isinstance(one, TaskyardError) for one in self.given)

    @property
    def repeated(self) -> bool:
        """Everything in it was reported before."""
        return bool(self.given) and all(
            isinstance(one, TaskyardError) or "repeated" in one for one in self.given
        )

    @property
    def repeats(self) -> bool:
        """Something in it was reported before."""
        return any(not isinstance(one, TaskyardError) and "repeated" in one for one in self.given)
