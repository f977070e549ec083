"""The neutral form that every importer produces, before anything is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from app.db import Json

Level = Literal["phase", "task", "subtask"]
Risk = Literal["reversible", "costly", "irreversible"]


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001 - the word that people and the API use for it
    """One repair: what was wrong in which file, at which node, and what was done about it."""

    code: str
    message: str
    file: str | None = None
    node: str | None = None


@dataclass(slots=True)
class DraftNode:
    """A phase, a task or a subtask. One without children is a leaf and becomes a job."""

    code: str
    level: Level
    parent: str | None
    title: str
    description: str = ""
    role: str | None = None
    resources: list[str] = field(default_factory=list)
    duration_min: float | None = None
    duration_likely: float | None = None
    duration_max: float | None = None
    action: str | None = None
    params: Json = field(default_factory=dict)
    agent_executable: bool = True
    confidence: float = 1.0
    reasons: list[str] = field(default_factory=list)
    tier: int = 1
    risk: Risk = "reversible"
    acceptance: list[str] = field(default_factory=list)
    # Priority, approval, timeout_seconds, max_attempts, optional, retry_policy, on_exhausted:
    # only what the source says of them.
    handling: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class DraftPlan:
    """Nodes stand in the plan's order, a parent before its children; dependencies are pairs of
    codes (who waits, for whom) that name nodes of any level and close no circle."""

    title: str
    goal: str
    source_kind: str
    nodes: list[DraftNode]
    dependencies: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)

    def leaves(self) -> list[DraftNode]:
        parents = {node.parent for node in self.nodes}
        return [node for node in self.nodes if node.code not in parents]
