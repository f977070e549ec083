"""A draft becomes a plan in the database: once, whole, and not to be changed."""

from __future__ import annotations

import threading
import time
import uuid

from app.accounts.policy import Caller
from app.db import Database
from app.plans.accepting import accept, fingerprint
from app.plans.keeping import find_plan, read_nodes
from tests.fresh import Key
from tests.plans.making import draft, grid, phase, plan, subtask, task


def caller(key: Key) -> Caller:
    return Caller("user", key.id, "member")


def test_what_the_draft_says_is_what_is_stored(database: Database, member: Key) -> None:
    made = draft(
        plan(
            phase(
                task(
                    subtask(
                        "Ask around",
                        description="By phone.",
                        role="Scout",
                        estimate={"min": 1, "likely": 2, "max": 3},
                        params={"who": ["Ann"]},
                        acceptance=["three names"],
                        confidence=0.5,
                        risk="costly",
                        priority="high",
                    ),
                    prerequisites=["2"],
                )
            ),
            phase(task()),
        )
    )
    with database.transaction() as tx:
        accepted = accept(tx, made, member.id)
        stored = find_plan(tx, caller(member), accepted.plan_id)
        rows = read_nodes(tx, accepted.plan_id)
    assert accepted.fresh
    assert (stored.title, stored.goal, stored.version) == ("A plan", "To test.", 1)
    assert (stored.source_kind, stored.decomposition_status) == ("json", "done")
    assert stored.counts == {
        "phases": 2,
        "tasks": 2,
        "subtasks": 1,
        "leaves": 2,
        "dependencies": 1,
    }
    assert [(node.code, parent, awaited) for node, parent, awaited in rows] == [
        ("1", None, []),
        ("1.1", "1", ["2"]),
        ("1.1.1", "1.1", []),
        ("2", None, []),
        ("2.1", "2", []),
    ]
    leaf = rows[2][0]
    assert (leaf.title, leaf.description, leaf.role) == ("Ask around", "By phone.", "Scout")
    assert (leaf.duration_min, leaf.duration_likely, leaf.duration_max) == (1, 2, 3)
    assert (leaf.action, leaf.params, leaf.acceptance) == (
        "write",
        {"who": ["Ann"]},
        ["three names"],
    )
    assert (leaf.decomposition_confidence, leaf.tier, leaf.risk) == (0.5, 1, "costly")
    assert leaf.handling == {"priority": 7}
    assert leaf.confidence_reasons == ["Stated by the plan."]


def test_the_same_content_by_the_same_owner_is_one_plan(
    database: Database, member: Key, operator: Key
) -> None:
    with database.transaction() as tx:
        first = accept(tx, draft(grid(1, 1, 2)), member.id)
        again = accept(tx, draft(grid(1, 1, 2)), member.id)
        others = accept(tx, draft(grid(1, 1, 2)), operator.id)
        changed = accept(tx, draft(grid(1, 1, 3)), member.id)
    assert (again.plan_id, again.fresh) == (first.plan_id, False)
    assert len({first.plan_id, others.plan_id, changed.plan_id}) == 3


def test_a_fingerprint_is_of_what_the_plan_says_not_of_how_it_is_laid_out() -> None:
    one = draft(plan(phase(task(params={"a": 1, "b": 2}, prerequisites=[]))))
    same = draft(plan(phase(task(code="1.1", params={"b": 2, "a": 1}))))
    other = draft(plan(phase(task(params={"a": 1, "b": 3}))))
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


def test_imports_of_the_same_content_at_one_moment_make_one_plan(
    database: Database, member: Key
) -> None:
    together = threading.Barrier(6)
    found: list[tuple[uuid.UUID, bool]] = []

    def bring() -> None:
        made = draft(grid(2, 3, 4))
        with database.transaction() as tx:
            together.wait(timeout=20)
            accepted = accept(tx, made, member.id)
        found.append((accepted.plan_id, accepted.fresh))

    threads = [threading.Thread(target=bring) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({plan_id for plan_id, _ in found}) == 1
    assert sum(fresh for _, fresh in found) == 1
    with database.transaction() as tx:
        assert len(read_nodes(tx, found[0][0])) == 2 + 2 * 3 + 2 * 3 * 4


def test_five_thousand_subtasks_are_stored_in_seconds(database: Database, member: Key) -> None:
    made = draft(grid(10, 50, 10, description="What is to be done. " * 10))
    begun = time.perf_counter()
    with database.transaction() as tx:
        accept(tx, made, member.id)
    assert time.perf_counter() - begun < 5  # a second here; machines differ
