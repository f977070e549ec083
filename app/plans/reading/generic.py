"""Generic JSON into the neutral draft. It is a program's or a person's own work, so nothing is
repaired: every fault is told at once, with its place and what to try."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from app.errors import Fault, Invalid
from app.plans.actions import GENERAL
from app.plans.draft import DraftNode, DraftPlan, Level
from app.plans.graph import Link, Tree, find_circles
from app.plans.reading.form import Estimate, GenericPlan, Phase, Task, Work

SOURCE_KIND: Final = "json"
MOST_NODES: Final = 20_000
MOST_DEPENDENCIES: Final = 100_000
MOST_FAULTS: Final = 100
MOST_GUESSES: Final = 5

HANDLING: Final = (
    "approval",
    "priority",
    "timeout_seconds",
    "max_attempts",
    "optional",
    "retry_policy",
    "on_exhausted",
)
# What a task says of how its work is done, and its subtasks need not say again.
INHERITED: Final = frozenset(
    ("role", "action", "params", "agent_executable", "confidence", "tier", "risk", *HANDLING)
)


def read(plan: GenericPlan) -> DraftPlan:
    """The draft of a plan whose types are right; raises Invalid with every other fault."""
    return Reading(plan).draft()


class Reading:
    """One pass over a plan: its nodes, where each stands, and what is wrong with it."""

    def __init__(self, plan: GenericPlan) -> None:
        self.plan = plan
        self.nodes: list[DraftNode] = []
        self.places: dict[str, str] = {}  # code → pointer
        self.wanted: list[tuple[str, int, str, str]] = []  # pointer, place, who waits, for whom
        self.faults: list[Fault] = []
        self.guesses = MOST_GUESSES

    def draft(self) -> DraftPlan:
        if not self.plan.phases:
            self.fault("/phases", "a plan needs at least one phase with a task")
        for place, phase in enumerate(self.plan.phases, 1):
            self.read_phase(phase, f"/phases/{place - 1}", str(place))
        self.refuse_size()
        dependencies = self.read_dependencies()
        draft = DraftPlan(self.plan.title, self.plan.goal, SOURCE_KIND, self.nodes, dependencies)
        leaves = draft.leaves()
        if leaves and all(leaf.handling.get("optional") for leaf in leaves):
            self.fault("/phases", "all of it is optional: the plan would be complete at once")
        self.refuse_faults()
        return draft

    def read_phase(self, phase: Phase, pointer: str, position: str) -> None:
        code = self.name(phase.code, position, pointer)
        node = DraftNode(code, "phase", None, phase.title, phase.description)
        self.take(node, phase, pointer)
        if not phase.tasks:
            self.fault(f"{pointer}/tasks", "a phase needs at least one task")
        for place, task in enumerate(phase.tasks, 1):
            self.read_task(task, f"{pointer}/tasks/{place - 1}", f"{position}.{place}", code)

    def read_task(self, task: Task, pointer: str, position: str, phase: str) -> None:
        code = self.name(task.code, position, pointer)
        own = {name: getattr(task, name) for name in task.model_fields_set & INHERITED}
        self.take(worker(code, "task", phase, task, own, leaf=not task.subtasks), task, pointer)
        for place, subtask in enumerate(task.subtasks, 1):
            at = f"{pointer}/subtasks/{place - 1}"
            said = {name: getattr(subtask, name) for name in subtask.model_fields_set & INHERITED}
            above = {name: value for name, value in own.items() if name != "params"}
            if "action" not in said and "params" in own:
                above["params"] = own["params"]  # params belong to their action
            part = self.name(subtask.code, f"{position}.{place}", at)
            self.take(worker(part, "subtask", code, subtask, above | said, leaf=True), subtask, at)

    def name(self, given: str | None, position: str, pointer: str) -> str:
        code = position if given is None else given
        known = self.places.get(code)
        if known is None:
            self.places[code] = pointer
            return code
        where = pointer if given is None else f"{pointer}/code"
        own = " by its position" if given is None else ""
        self.fault(where, f"is {code}{own}, and so is {known}: codes must differ")
        return f"{code} at {pointer}"  # so that the rest can be looked at all the same

    def take(self, node: DraftNode, source: Phase | Work, pointer: str) -> None:
        estimate = source.estimate
        if estimate is not None:
            node.duration_min = estimate.min
            node.duration_likely = estimate.likely
            node.duration_max = estimate.max
            for step in steps_down(estimate):
                self.fault(f"{pointer}/estimate", f"{step}: expected min ≤ likely ≤ max")
        self.nodes.append(node)
        told = set()
        for place, awaited in enumerate(source.prerequisites):
            if awaited not in told:
                told.add(awaited)
                self.wanted.append((pointer, place, node.code, awaited))

    def refuse_size(self) -> None:
        for what, count, most in (
            ("phases, tasks and subtasks", len(self.nodes), MOST_NODES),
            ("prerequisites", len(self.wanted), MOST_DEPENDENCIES),
        ):
            if count > most:
                self.fault("/phases", f"holds {count:,} {what}; {most:,} at most")
                self.refuse_faults()

    def read_dependencies(self) -> list[Link]:
        tree = Tree((node.code, node.parent) for node in self.nodes)
        pointers: list[str] = []
        dependencies: list[Link] = []
        for pointer, place, waits, awaited in self.wanted:
            where = f"{pointer}/prerequisites/{place}"
            if awaited not in tree.number:
                self.fault(where, f"there is no {awaited} in this plan{self.guess(awaited)}")
            elif awaited == waits:
                self.fault(where, f"{waits} waits for itself")
            elif tree.related(waits, awaited):
                whole = awaited if tree.depth_of(awaited) < tree.depth_of(waits) else waits
                part = waits if whole == awaited else awaited
                self.fault(where, f"{part} is a part of {whole}: neither can wait for the other")
            else:
                pointers.append(where)
                dependencies.append((waits, awaited))
        for circle in find_circles(tree, dependencies, most=20 if len(tree) < 2_000 else 3):
            self.fault(pointers[circle.links[-1]], f"waits in a circle: {circle}")
        return dependencies

    def guess(self, wanted: str) -> str:
        if self.guesses == 0:
            return ""  # each looks at every code of the plan
        self.guesses -= 1
        near = difflib.get_close_matches(wanted, self.places, n=1, cutoff=0.75)
        return f"; perhaps {near[0]} is meant" if near else ""

    def fault(self, pointer: str, detail: str) -> None:
        self.faults.append(Fault(pointer, detail))

    def refuse_faults(self) -> None:
        if not self.faults:
            return
        first, *others = self.faults
        more = f" (and {len(others)} more)" if others else ""
        raise Invalid(
            f"The plan does not hold together: {first.pointer} {first.detail}{more}.",
            self.faults[:MOST_FAULTS],
            hint="Mend what errors lists and send the plan again; nothing was stored. Its schema "
            "is at /api/schemas/plan.json.",
        )


def worker(
    code: str, level: Level, parent: str, source: Work, said: dict[str, Any], *, leaf: bool
) -> DraftNode:
    """The node of a task or a subtask; `said` is what it or the task above says of its work."""
    approval = said.get("approval")
    executable = said.get("agent_executable", True)
    confidence = said.get("confidence")
    tier = said.get("tier")
    if tier is None:
        tier = 3 if not executable else 2 if approval in ("before", "after") else 1
    retry = said.get("retry_policy")
    handling = {name: said[name] for name in HANDLING if said.get(name) is not None}
    if retry is not None:
        handling["retry_policy"] = retry.model_dump(exclude_unset=True)
    return DraftNode(
        code,
        level,
        parent,
        source.title,
        source.description,
        role=said.get("role"),
        action=said.get("action") or (GENERAL if leaf else None),
        params=said.get("params", {}),
        agent_executable=executable and tier != 3,
        confidence=1.0 if confidence is None else confidence,
        reasons=["The plan states no confidence." if confidence is None else "Stated by the plan."],
        tier=tier,
        risk=said.get("risk", "reversible"),
        acceptance=list(source.acceptance),
        handling=handling,
    )


def steps_down(estimate: Estimate) -> Iterator[str]:
    """Where min, likely and max are not in their order."""
    told = [
        (name, days)
        for name, days in (
            ("min", estimate.min),
            ("likely", estimate.likely),
            ("max", estimate.max),
        )
        if days is not None
    ]
    for (low, less), (high, more) in pairwise(told):
        if less > more:
            yield f"{low} {less:g} is more than {high} {more:g}"
