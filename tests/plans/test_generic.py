"""Generic JSON becomes a draft, or is refused with every fault, its place and what to try."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import Invalid
from app.plans.draft import DraftNode
from app.plans.reading import form
from tests.plans.making import draft, grid, phase, plan, subtask, task


def nodes(*phases: dict[str, Any]) -> dict[str, DraftNode]:
    return {node.code: node for node in draft(plan(*phases)).nodes}


def faults(*phases: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as refusal:
        draft(plan(*phases))
    assert refusal.value.hint
    return {fault.pointer: fault.detail for fault in refusal.value.faults}


def test_codes_are_positions_unless_given() -> None:
    found = nodes(phase(task(subtask(), subtask(code="own")), task()), phase(task(code="2-a")))
    assert list(found) == ["1", "1.1", "1.1.1", "own", "1.2", "2", "2-a"]
    assert found["own"].parent == "1.1"
    assert [found[code].level for code in ("1", "1.1", "own")] == ["phase", "task", "subtask"]


def test_a_leaf_without_an_action_gets_general_and_a_group_gets_none() -> None:
    found = nodes(phase(task({"title": "a"}), task()))
    assert found["1.1.1"].action == "general"
    assert found["1.2"].action == "general"
    assert found["1.1"].action is None
    assert found["1"].action is None


def test_an_estimate_is_a_number_of_days_or_three() -> None:
    found = nodes(
        phase(
            task(estimate=2),
            task(estimate={"min": 1, "likely": 2, "max": 4.5}),
            task(estimate={"likely": 3}),
        )
    )
    days = [(n.duration_min, n.duration_likely, n.duration_max) for n in found.values()][1:]
    assert days == [(None, 2, None), (1, 2, 4.5), (None, 3, None)]


def test_what_a_task_says_of_its_work_holds_for_its_subtasks_unless_they_say_otherwise() -> None:
    found = nodes(
        phase(
            task(
                {"title": "a"},
                {"title": "b", "role": "Editor", "action": "review"},
                {"title": "c", "params": {"own": 1}},
                role="Writer",
                action="draft",
                params={"tone": "plain"},
                approval="after",
                description="The task's own",
                acceptance=["the task's own"],
            )
        )
    )
    a, b, c = (found[f"1.1.{place}"] for place in (1, 2, 3))
    assert (a.role, a.action, a.params) == ("Writer", "draft", {"tone": "plain"})
    assert (b.role, b.action, b.params) == ("Editor", "review", {})
    assert (c.action, c.params) == ("draft", {"own": 1})
    assert a.handling == {"approval": "after"}
    assert (a.description, a.acceptance) == ("", [])


def test_tiers_follow_from_who_may_do_it_and_who_approves() -> None:
    found = nodes(
        phase(
            task(agent_executable=False),
            task(approval="before"),
            task(tier=3),
            task(approval="none", confidence=0.4),
        )
    )
    told = [(n.tier, n.agent_executable, n.confidence) for n in found.values()][1:]
    assert told == [(3, False, 1.0), (2, True, 1.0), (3, False, 1.0), (1, True, 0.4)]
    assert all(node.reasons for node in found.values() if node.level == "task")


def test_priorities_have_words() -> None:
    found = nodes(phase(*(task(priority=each) for each in ("critical", "high", "low", 0, 9.0))))
    assert [n.handling.get("priority") for n in found.values()][1:] == [9, 7, 3, 0, 9]


def test_prerequisites_name_codes_anywhere_in_the_plan() -> None:
    made = draft(
        plan(
            phase(task(subtask(prerequisites=["2", "2"]), code="a")),
            phase(task(prerequisites=[]), prerequisites=[]),
        )
    )
    assert made.dependencies == [("1.1.1", "2")]


def test_every_fault_is_told_at_once_with_its_place() -> None:
    told = faults(
        phase(
            task(prerequisites=["1.2", "1", "1.9"], estimate={"min": 4, "likely": 2, "max": 9}),
            task(subtask(prerequisites=["1.2.1"]), prerequisites=["1.1"]),
            task(code="1.1"),
        ),
        phase(),
        phase(task(), prerequisites=["3.1"]),
    )
    assert told == {
        "/phases/0/tasks/0/estimate": "min 4 is more than likely 2: expected min ≤ likely ≤ max",
        "/phases/0/tasks/0/prerequisites/1": "1.1 is a part of 1: neither can wait for the other",
        "/phases/0/tasks/0/prerequisites/2": "there is no 1.9 in this plan",
        "/phases/0/tasks/1/prerequisites/0": "waits in a circle: 1.1 → 1.2 → 1.1",
        "/phases/0/tasks/1/subtasks/0/prerequisites/0": "1.2.1 waits for itself",
        "/phases/0/tasks/2/code": "is 1.1, and so is /phases/0/tasks/0: codes must differ",
        "/phases/1/tasks": "a phase needs at least one task",
        "/phases/2/prerequisites/0": "3.1 is a part of 3: neither can wait for the other",
    }


def test_a_code_that_nearly_fits_is_suggested() -> None:
    told = faults(phase(task(code="draft-offer"), task(prerequisites=["draft-ofer"])))
    assert told == {
        "/phases/0/tasks/1/prerequisites/0": "there is no draft-ofer in this plan; perhaps "
        "draft-offer is meant"
    }


def test_a_position_that_somebody_else_took_as_a_code_is_told() -> None:
    told = faults(phase(task(code="1.2"), task()))
    assert told == {
        "/phases/0/tasks/1": "is 1.2 by its position, and so is /phases/0/tasks/0: codes must "
        "differ"
    }


def test_a_circle_through_a_whole_is_named_by_its_path() -> None:
    told = faults(phase(task(), prerequisites=["2.1"]), phase(task(), prerequisites=["1.1"]))
    assert told == {"/phases/1/prerequisites/0": "waits in a circle: 1 → 2.1 → 2 → 1.1 → 1"}


def test_a_plan_without_a_leaf_is_refused() -> None:
    assert faults() == {"/phases": "a plan needs at least one phase with a task"}


def test_a_plan_of_which_nothing_must_be_done_is_refused() -> None:
    told = faults(phase(task(optional=True)))
    assert told == {"/phases": "all of it is optional: the plan would be complete at once"}


def test_a_plan_beyond_all_measure_is_refused() -> None:
    told = faults(phase(*(task() for _ in range(20_000))))
    assert told == {"/phases": "holds 20,001 phases, tasks and subtasks; 20,000 at most"}


def test_five_thousand_subtasks_are_a_plan() -> None:
    made = draft(grid(10, 50, 10))
    assert len(made.leaves()) == 5_000


@pytest.mark.parametrize(
    "field",
    [
        {"action": "Send Mail"},
        {"action": "human"},
        {"action": ""},
        {"priority": 10},
        {"priority": "urgent"},
        {"priority": True},
        {"estimate": -1},
        {"estimate": "3d"},
        {"estimate": {"min": 1}},
        {"estimate": {"likely": 1, "most": 2}},
        {"code": "a b"},
        {"code": ""},
        {"title": "  "},
        {"title": "two\nlines"},
        {"confidence": 1.5},
        {"approval": "maybe"},
        {"max_attempts": 0},
        {"timeout_seconds": 0},
        {"optional": "yes"},
        {"on_exhausted": "panic"},
        {"tier": 4},
        {"retry_policy": {"base": 1}},
        {"params": {"number": 2**70}},
        {"params": {"long": "x" * 200_000}},
        {"unknown": 1},
        {"prerequisites": [1]},
    ],
    ids=repr,
)
def test_a_field_that_says_nothing_sensible_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refusal:
        draft(plan(phase(task(**({"title": "t"} | field)))))
    [place] = {error["loc"][:4] for error in refusal.value.errors()}
    assert place == ("phases", 0, "tasks", 0)


def test_the_schema_names_every_field_and_refuses_others() -> None:
    schema = form.schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"title", "goal", "phases"}
    subtask_fields = schema["$defs"]["Subtask"]["properties"]
    assert {"action", "params", "prerequisites", "acceptance", "retry_policy"} <= set(
        subtask_fields
    )
