"""An execution is made from a plan: its tree, its jobs, the graph between them; and started."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest

from app.accounts.policy import Caller
from app.control.starting import Budget, approval_of, create_execution, start
from app.db import Database, Row
from app.errors import Forbidden, Invalid, Missing, Refused
from app.executions.run import hold
from app.plans import keeping
from app.plans.accepting import accept
from tests.fresh import Key, People
from tests.plans.making import Json, draft, grid, phase, plan, subtask, task

DAY = 86_400


def store(database: Database, owner: Key, form: Json) -> uuid.UUID:
    with database.transaction() as tx:
        return accept(tx, draft(form), owner.id).plan_id


def create(database: Database, owner: Key, form: Json, **more: Any) -> uuid.UUID:
    plan_id = store(database, owner, form)
    with database.transaction() as tx:
        return create_execution(tx, plan_id, owner.id, **{"timeout_seconds": DAY} | more)


def begin(database: Database, execution: uuid.UUID) -> None:
    with database.transaction() as tx:
        run = hold(tx, execution)
        start(tx, run, "user:somebody")
        run.write(tx)


def rows(
    database: Database, table: str, execution: uuid.UUID, order: str = "position"
) -> list[Row]:
    with database.transaction() as tx:
        return tx.execute(
            f"SELECT * FROM {table} WHERE execution_id = %s ORDER BY {order}",
            (execution,),
        ).fetchall()


def jobs(database: Database, execution: uuid.UUID) -> dict[str, Row]:
    return {row["code"]: row for row in rows(database, "jobs", execution)}


def read_execution(database: Database, execution: uuid.UUID) -> Row:
    with database.transaction() as tx:
        return tx.fetch("SELECT * FROM executions WHERE id = %s", (execution,))


def needs(database: Database, execution: uuid.UUID) -> dict[str, set[str]]:
    with database.transaction() as tx:
        found = tx.execute(
            "SELECT j.code, p.code AS before FROM jobs j "
            "JOIN job_dependencies d ON d.job_id = j.id JOIN jobs p ON p.id = d.prerequisite_id "
            "WHERE j.execution_id = %s",
            (execution,),
        ).fetchall()
    told: dict[str, set[str]] = {}
    for row in found:
        told.setdefault(row["code"], set()).add(row["before"])
    return told


def test_a_job_says_what_its_leaf_says(database: Database, member: Key) -> None:
    execution = create(
        database,
        member,
        plan(
            phase(
                task(
                    subtask(
                        "Ask",
                        description="By phone.",
                        action="call",
                        params={"who": "Ann"},
                        role="Scout",
                        acceptance=["a name"],
                        estimate={"min": 1, "likely": 2, "max": 9},
                        confidence=0.9,
                        timeout_seconds=60,
                        max_attempts=5,
                        retry_policy={"base_seconds": 1},
                        on_exhausted="fail",
                        optional=True,
                        priority="low",
                        approval="after",
                    ),
                    title="Calls",
                ),
                task(title="A task alone", action="write"),
                title="Looking",
            )
        ),
        priority=6,
    )
    found = jobs(database, execution)
    ask = found["1.1.1"]
    expected = {
        "title": "Ask",
        "instructions": "By phone.",
        "kind": "plan",
        "action": "call",
        "lane": "call",
        "params": {"who": "Ann"},
        "role": "Scout",
        "acceptance": ["a name"],
        "path": ["Looking", "Calls"],
        "planned_days": 3,
        "rank": 3,
        "confidence": 0.9,
        "timeout_seconds": 60,
        "max_attempts": 5,
        "retry_policy": {"base_seconds": 1},
        "on_exhausted": "fail",
        "optional": True,
        "priority": 3,
        "approval": "after",
        "status": "pending",
        "offered": False,
    }
    assert {name: ask[name] for name in expected} == expected
    alone = found["1.2"]
    expected = {
        "path": ["Looking"],
        "priority": 6,
        "timeout_seconds": DAY,
        "max_attempts": 3,
        "retry_policy": {},
        "on_exhausted": "escalate",
        "optional": False,
        "approval": "none",
        "planned_days": None,
    }
    assert {name: alone[name] for name in expected} == expected
    tree = rows(database, "execution_tasks", execution)
    assert [(row["code"], row["title"]) for row in tree] == [("1", "Looking"), ("1.1", "Calls")]
    assert tree[1]["parent_id"] == tree[0]["id"]
    assert (ask["task_id"], alone["task_id"]) == (tree[1]["id"], tree[0]["id"])
    counted = read_execution(database, execution)
    assert (counted["total_weight"], counted["open_jobs"], counted["unfinished_jobs"]) == (2, 1, 2)
    assert counted["moving_jobs"] == 0


def test_the_log_begins_with_the_creation(database: Database, member: Key) -> None:
    execution = create(database, member, grid(1, 1, 2))
    [event] = rows(database, "execution_events", execution, "number")
    assert (event["number"], event["type"]) == (1, "execution_created")
    assert event["actor"] == f"user:{member.id}"
    assert event["data"]["jobs"] == 2
    assert read_execution(database, execution)["last_event"] == 1


@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ("phased", {"1.1.2": {"1.1.1"}, "2.1.1": {"1.1.2", "1.2.1"}}),
        ("strict", {"1.1.2": {"1.1.1"}, "1.2.1": {"1.1.2"}, "2.1.1": {"1.2.1"}}),
        ("free", {}),
    ],
)
def test_the_ordering_says_what_waits_for_what(
    database: Database, member: Key, ordering: str, expected: dict[str, set[str]]
) -> None:
    form = plan(phase(task(subtask(), subtask()), task(subtask())), phase(task(subtask())))
    execution = create(database, member, form, ordering=ordering)
    assert needs(database, execution) == expected
    for code, job in jobs(database, execution).items():
        assert job["open_prerequisites"] == len(expected.get(code, ()))


def test_an_overruled_order_stands_in_the_log(database: Database, member: Key) -> None:
    form = plan(phase(task(subtask())), phase(task(subtask())), title="x")
    form["phases"][0]["prerequisites"] = ["2"]
    execution = create(database, member, form)
    assert needs(database, execution) == {"1.1.1": {"2.1.1"}}
    [event] = rows(database, "execution_events", execution, "number")
    assert event["data"]["overruled"] == [["1", "2"]]


def test_what_an_agent_may_not_do_waits_in_the_lane_of_people(
    database: Database, member: Key
) -> None:
    form = plan(
        phase(
            task(action="write", confidence=0.69),
            task(action="write", confidence=0.7),
            task(action="write", agent_executable=False),
            task(action="write", tier=3),
        )
    )
    execution = create(database, member, form)
    lanes = [job["lane"] for job in jobs(database, execution).values()]
    assert lanes == ["human", "write", "human", "human"]
    bolder = create(database, member, form, threshold=0.5)
    assert jobs(database, bolder)["1.1"]["lane"] == "write"


@pytest.mark.parametrize(
    ("tier", "action", "approval"),
    [
        (1, "send_message", "none"),
        (2, "send_message", "before"),
        (2, "deploy-site", "before"),
        (2, "write_document", "after"),
        (2, "resend", "after"),
        (3, "buy", "none"),
    ],
)
def test_what_touches_the_world_is_approved_before_and_a_document_after(
    tier: int, action: str, approval: str
) -> None:
    assert approval_of(tier, action) == approval


def test_reserved_jobs_are_for_the_chosen_agents(
    database: Database, member: Key, people: People
) -> None:
    ann, bob = people.agent("Ann"), people.agent("Bob")
    execution = create(database, member, grid(1, 1, 2), agents=[ann.id, bob.id, ann.id])
    assert {job["lane"] for job in jobs(database, execution).values()} == {f"write@{execution}"}
    engaged = {row["agent_id"] for row in rows(database, "engagements", execution, "id")}
    assert engaged == {ann.id, bob.id}


def test_an_agent_that_is_not_there_is_refused_with_its_place(
    database: Database, member: Key, people: People
) -> None:
    gone = people.agent("Gone", status="retired")
    plan_id = store(database, member, grid(1, 1, 1))
    with pytest.raises(Invalid) as refusal, database.transaction() as tx:
        create_execution(
            tx, plan_id, member.id, timeout_seconds=DAY, agents=[gone.id, uuid.uuid4()]
        )
    assert [fault.pointer for fault in refusal.value.faults] == ["/agents/0", "/agents/1"]


def test_what_the_caller_chose_is_kept(database: Database, member: Key) -> None:
    execution = create(
        database,
        member,
        grid(1, 1, 1),
        name="My run",
        budget=Budget(tokens=1000, usd=Decimal("2.50")),
        callback="https://example.org/told",
    )
    kept = read_execution(database, execution)
    assert (kept["name"], kept["goal"], kept["status"]) == ("My run", "To test.", "created")
    assert (kept["budget_tokens"], kept["budget_usd"]) == (1000, Decimal("2.50"))
    assert kept["callback_url"] == "https://example.org/told"
    assert (kept["deadline_at"], kept["timeout_seconds"]) == (None, DAY)


def test_a_plan_that_is_not_there_or_not_broken_down_is_refused(
    database: Database, member: Key
) -> None:
    with pytest.raises(Missing), database.transaction() as tx:
        create_execution(tx, uuid.uuid4(), member.id, timeout_seconds=DAY)
    plan_id = store(database, member, grid(1, 1, 1))
    with database.transaction() as tx:
        tx.execute("UPDATE plans SET decomposition_status = 'running'")
    with pytest.raises(Refused, match="running"), database.transaction() as tx:
        create_execution(tx, plan_id, member.id, timeout_seconds=DAY)


def test_a_plan_gives_nobody_a_right_to_commands(
    database: Database, member: Key, operator: Key
) -> None:
    form = plan(phase(task(action="run_command", params={"command": "ls"})))
    with pytest.raises(Forbidden):
        create(database, member, form)
    assert create(database, operator, form)


def test_a_start_puts_on_offer_what_waits_for_nothing(database: Database, member: Key) -> None:
    execution = create(database, member, grid(2, 2, 2))
    begin(database, execution)
    statuses = {code: job["status"] for code, job in jobs(database, execution).items()}
    assert [code for code, status in statuses.items() if status == "ready"] == ["1.1.1", "1.2.1"]
    started = read_execution(database, execution)
    assert (started["status"], started["moving_jobs"]) == ("queued", 2)
    events = rows(database, "execution_events", execution, "number")
    assert [event["type"] for event in events] == [
        "execution_created",
        "execution_queued",
        "job_ready",
        "job_ready",
    ]
    assert [event["number"] for event in events] == [1, 2, 3, 4]


def test_a_first_job_under_approval_waits_for_a_person(database: Database, member: Key) -> None:
    execution = create(database, member, plan(phase(task(action="send", approval="before"))))
    begin(database, execution)
    assert jobs(database, execution)["1.1"]["status"] == "waiting"
    [checkpoint] = rows(database, "checkpoints", execution, "id")
    assert (checkpoint["kind"], checkpoint["status"]) == ("approval", "pending")


def test_the_deadline_runs_from_the_start(database: Database, member: Key) -> None:
    execution = create(database, member, grid(1, 1, 1), timeout_seconds=3600)
    begin(database, execution)
    row = read_execution(database, execution)
    with database.transaction() as tx:
        left = (row["deadline_at"] - tx.now).total_seconds()
    assert 3500 < left <= 3600


def test_a_deadline_that_was_named_is_kept_and_its_length_too(
    database: Database, member: Key
) -> None:
    with database.transaction() as tx:
        deadline = tx.now + dt.timedelta(hours=2)
    execution = create(database, member, grid(1, 1, 1), deadline=deadline)
    begin(database, execution)
    row = read_execution(database, execution)
    assert row["deadline_at"] == deadline
    assert 7000 < row["timeout_seconds"] <= 7200


def test_a_deadline_in_the_past_is_refused(database: Database, member: Key) -> None:
    with database.transaction() as tx:
        past = tx.now - dt.timedelta(seconds=1)
    with pytest.raises(Invalid) as refusal:
        create(database, member, grid(1, 1, 1), deadline=past)
    assert [fault.pointer for fault in refusal.value.faults] == ["/deadline"]


def test_nothing_starts_twice(database: Database, member: Key) -> None:
    execution = create(database, member, grid(1, 1, 1))
    begin(database, execution)
    with pytest.raises(Refused):
        begin(database, execution)


def test_made_and_started_in_one_transaction(database: Database, member: Key) -> None:
    plan_id = store(database, member, grid(1, 1, 3))
    with database.transaction() as tx:
        execution = create_execution(tx, plan_id, member.id, timeout_seconds=DAY)
        run = hold(tx, execution)
        start(tx, run, "user:somebody")
        run.write(tx)
        assert tx.outgoing.nudges == {execution}
        assert tx.outgoing.rings == {"write": 1}
    assert jobs(database, execution)["1.1.1"]["offered"]


def test_a_plan_is_deleted_or_started_but_never_both(database: Database, member: Key) -> None:
    """Whoever comes second is told so in words, not by the database."""
    who = Caller("user", member.id, "member")
    for place in range(8):
        plan_id = store(database, member, grid(1, 1, 1, description=f"Round {place}"))
        together = threading.Barrier(2)
        said: dict[str, object] = {}

        def delete(plan_id: uuid.UUID = plan_id, said: dict[str, object] = said) -> None:
            together.wait(timeout=20)  # noqa: B023 - both belong to this round
            try:
                with database.transaction() as tx:
                    keeping.delete(tx, who, plan_id)
                said["delete"] = "done"
            except (Refused, Missing) as refusal:
                said["delete"] = type(refusal)

        def begin_one(plan_id: uuid.UUID = plan_id, said: dict[str, object] = said) -> None:
            together.wait(timeout=20)  # noqa: B023
            try:
                with database.transaction() as tx:
                    create_execution(tx, plan_id, member.id, timeout_seconds=DAY)
                said["start"] = "done"
            except Missing as refusal:
                said["start"] = type(refusal)

        threads = [threading.Thread(target=each) for each in (delete, begin_one)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said in ({"delete": "done", "start": Missing}, {"delete": Refused, "start": "done"})


def test_two_thousand_jobs_are_made_and_started_in_a_moment(
    database: Database, member: Key
) -> None:
    plan_id = store(database, member, grid(8, 25, 10))
    begun = time.perf_counter()
    with database.transaction() as tx:
        execution = create_execution(tx, plan_id, member.id, timeout_seconds=DAY)
    made = time.perf_counter() - begun
    begin(database, execution)
    assert read_execution(database, execution)["unfinished_jobs"] == 2_000
    assert made < 3  # half a second here; machines differ
