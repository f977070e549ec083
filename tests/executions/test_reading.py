"""What is told of executions: views, lists, trees, events, exports, summaries."""

from __future__ import annotations

import random
import string
import threading
import uuid
from typing import Any

import orjson
import pytest

from app.db import Database, new_id
from app.executions import export as exporting
from app.executions.models import ExecutionTask, Job
from app.executions.run import hold
from tests.executions.stages import STATES, claim, report, run_in, work_off
from tests.fresh import Key, People
from tests.handoff.runs import MadeRun, make_run


def test_an_execution_is_told_in_full(database: Database, people: People, member: Key) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"], "c": ["b"]})
    agent = people.agent()
    report(agent, made, claim(agent), "completed", output={})
    shown = member.get(f"/api/executions/{made.id}").json
    assert shown["status"] == "running"
    assert shown["progress"] == {"total": 3, "completed": 1, "percent": 33.3}
    assert shown["counts"] == {"completed": 1, "pending": 1, "ready": 1}
    assert shown["owner_id"] == str(member.id)
    assert shown["budget"] == {"tokens": None, "usd": None}
    assert shown["spent"] == {"tokens": 0, "usd": 0.0}
    assert shown["summary"] is None
    assert shown["blockers"] == []
    assert shown["last_event"] == 6
    assert shown["started_at"].endswith("Z")


@pytest.mark.parametrize("status", STATES)
def test_only_what_has_ended_has_a_summary(
    database: Database, people: People, member: Key, status: str
) -> None:
    made = run_in(database, people, member.id, status)
    shown = member.get(f"/api/executions/{made.id}").json
    assert (shown["summary"] is not None) == (status in ("completed", "failed", "cancelled"))


def test_the_summary_says_what_it_came_to(database: Database, people: People, member: Key) -> None:
    made = make_run(
        database,
        member.id,
        {"a": [], "b": ["a"], "c": ["a"], "d": [], "e": []},
        a={"rank": 2.5},
        c={"action": "draw", "lane": "draw"},
        d={"action": "draw", "lane": "draw", "on_exhausted": "fail", "optional": True},
        e={"action": "draw", "lane": "draw"},
    )
    writer = people.agent()
    piece = claim(writer)
    report(writer, made, piece, "usage", tokens=120, cost=0.25)
    given = report(writer, made, piece, "completed", output="draft", next_one=True)
    report(writer, made, given["work"][0], "completed", output={"text": "final"})
    drawer = people.agent(capabilities=[{"action": "draw"}], max_concurrent=3)
    pieces = [claim(drawer) for _ in range(3)]
    for piece in pieces:
        code = piece["job"]["code"]
        if code == "c":
            report(drawer, made, piece, "completed", output="x" * 20_000)
        elif code == "d":
            error = {"class": "fatal", "message": "out of ink"}
            report(drawer, made, piece, "failed", error=error)
        else:
            report(drawer, made, piece, "released")
    path = f"/api/executions/{made.id}/jobs/{made.jobs['e']}/skip"
    assert member.post(path, {"reason": "nobody reads it"}).status_code == 200
    shown = member.get(f"/api/executions/{made.id}").json
    assert shown["status"] == "completed"
    summary = shown["summary"]
    assert summary["planned_days"] == 2.5
    assert summary["lasted_seconds"] >= 0
    assert summary["jobs"] == {"completed": 3, "failed": 1, "skipped": 1}
    assert summary["attempts"] == 4
    assert summary["spent"] == {"tokens": 120, "usd": 0.25}
    told = {one["code"]: (one["status"], one["reason"]) for one in summary["not_done"]}
    assert told["e"] == ("skipped", "nobody reads it")
    assert told["d"][0] == "failed"
    outputs = {one["code"]: one["output"] for one in summary["outputs"]}
    assert outputs == {"b": {"text": "final"}, "c": None}, "the large one is told by its size"
    assert next(one for one in summary["outputs"] if one["code"] == "c")["size"] == 20_002


def test_percent_follows_the_weights_and_never_passes_100(
    database: Database, people: People, member: Key
) -> None:
    third = {"weight": 1 / 3}
    made = make_run(database, member.id, {"a": [], "b": ["a"], "c": ["b"]}, every=third)
    work_off(people.agent(), made)
    assert member.get(f"/api/executions/{made.id}").json["progress"]["percent"] == 100.0


def test_the_list_is_filtered_and_paged(
    database: Database, people: People, member: Key, operator: Key
) -> None:
    mine = [make_run(database, member.id, {"a": []}).id for _ in range(5)]
    theirs = make_run(
        database, operator.id, {"a": [], "b": []}, execution={"goal": "A 100% bridge"}
    )
    member.patch(f"/api/executions/{mine[1]}", {"action": "pause"})
    member.patch(f"/api/executions/{mine[2]}", {"action": "cancel"})

    def ids(key: Key, query: str) -> list[str]:
        answer = key.get(f"/api/executions?{query}")
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json["items"]]

    assert ids(operator, "") == [str(one) for one in (theirs.id, *reversed(mine))]
    assert ids(operator, "status=paused,cancelled") == [str(mine[2]), str(mine[1])]
    assert ids(operator, "owner=me") == [str(theirs.id)]
    assert ids(operator, f"owner={member.id}") == [str(one) for one in reversed(mine)]
    assert ids(operator, "text=BRIDGE") == [str(theirs.id)]
    assert ids(operator, "text=100%25") == [str(theirs.id)], "the sign is a sign, no pattern"
    assert ids(operator, f"plan={uuid.uuid4()}") == []
    assert ids(member, f"owner={operator.id}") == []
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = operator.get(f"/api/executions?limit=2{cursor}").json
        found += [one["id"] for one in page["items"]]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert found == ids(operator, "")
    [line] = operator.get("/api/executions?owner=me").json["items"]
    assert line["counts"] == {"ready": 2}
    assert line["progress"]["total"] == 2


@pytest.mark.parametrize(
    "query",
    [
        "cursor=nonsense",
        "cursor=" + "!" * 22,
        "limit=0",
        "limit=501",
        "status=sleeping",
        "owner=you",
        "plan=1",
        "colour=red",
        "text=%00",
        "status=paused&status=failed&limit=1&limit=2",
    ],
)
def test_a_query_that_cannot_be_read_is_refused(member: Key, query: str) -> None:
    answer = member.get(f"/api/executions?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"][0]["pointer"].startswith("?")


@pytest.mark.parametrize(
    "path",
    [
        "events?after=x",
        "events?after=-1",
        "events?limit=501",
        "events?job=1",
        "jobs?cursor=abc",
        "jobs?status=lazy",
        "events/stream?after=x",
        "events/stream?since=1",
    ],
)
def test_malformed_places_are_refused(database: Database, member: Key, path: str) -> None:
    made = make_run(database, member.id, {"a": []})
    answer = member.get(f"/api/executions/{made.id}/{path}")
    assert answer.status_code == 422, answer.text


def test_events_are_read_by_their_numbers(database: Database, people: People, member: Key) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"]})
    work_off(people.agent(), made)
    path = f"/api/executions/{made.id}/events"
    whole = member.get(path).json
    last = whole["last"]
    assert [one["number"] for one in whole["items"]] == list(range(1, last + 1))
    assert whole["next_after"] == last
    read: list[int] = []
    after = 0
    while after < last:
        page = member.get(f"{path}?after={after}&limit=3").json
        read += [one["number"] for one in page["items"]]
        after = page["next_after"]
    assert read == list(range(1, last + 1))
    nothing = member.get(f"{path}?after={last + 50}").json
    assert (nothing["items"], nothing["next_after"]) == ([], last + 50)
    typed = member.get(f"{path}?type=job_leased,job_completed").json
    assert [one["type"] for one in typed["items"]] == ["job_leased", "job_completed"] * 2
    assert typed["next_after"] == last, "what a filter let pass by is behind the reader"
    of_b = member.get(f"{path}?job={made.jobs['b']}").json["items"]
    assert {one["job_id"] for one in of_b} == {str(made.jobs["b"])}
    cut = member.get(f"{path}?type=job_leased&limit=1").json
    assert cut["next_after"] == cut["items"][0]["number"]


def test_large_events_make_a_page_short_and_lose_none(database: Database, member: Key) -> None:
    made = make_run(database, member.id, {"a": []})
    dice = random.Random(7)  # what repeats itself would be stored in little room
    noise = ["".join(dice.choices(string.printable[:90], k=100_000)) for _ in range(8)]
    with database.transaction() as tx:
        run = hold(tx, made.id)
        for text in noise:
            run.log("log", actor="test", data={"text": text})
        run.write(tx)
    path = f"/api/executions/{made.id}/events?limit=500"
    read: list[dict[str, Any]] = []
    pages = after = 0
    while True:
        page = member.get(f"{path}&after={after}").json
        read += page["items"]
        after, pages = page["next_after"], pages + 1
        if after >= page["last"]:
            break
    assert [one["number"] for one in read] == list(range(1, page["last"] + 1))
    assert [one["data"]["text"] for one in read if one["type"] == "log"] == noise
    assert pages > 1


def test_jobs_are_listed_in_the_plans_order(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {code: [] for code in "abcdefg"})
    path = f"/api/executions/{made.id}/jobs"
    codes: list[str] = []
    cursor = ""
    while cursor is not None:
        page = member.get(f"{path}?limit=3{cursor}").json
        codes += [one["code"] for one in page["items"]]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert codes == list("abcdefg")
    agent = people.agent("Ann")
    report(agent, made, claim(agent), "progress", percent=40)
    [running] = member.get(f"{path}?status=running").json["items"]
    assert (running["percent"], running["agent_name"]) == (40, "Ann")
    assert running["agent_id"] == str(agent.id)


def test_one_job_is_told_with_attempts_and_questions(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"]})
    agent = people.agent()
    report(agent, made, claim(agent), "released")
    piece = claim(agent)
    report(agent, made, piece, "checkpoint", kind="question", title="Which?")
    answer = member.get(f"/api/executions/{made.id}/jobs/{made.jobs['a']}")
    assert piece["lease"]["token"] not in answer.text
    shown = answer.json
    assert [(one["attempt"], one["outcome"]) for one in shown["attempts"]] == [
        (1, "released"),
        (2, None),
    ]
    assert [one["title"] for one in shown["checkpoints"]] == ["Which?"]
    assert [one["code"] for one in shown["successors"]] == ["b"]


def plant(database: Database, made: MadeRun, where: dict[str, str]) -> None:
    """A phase 1 with tasks 1.1 and 1.2, and the jobs that stand under them."""
    ids = {code: new_id() for code in ("1", "1.1", "1.2")}
    with database.transaction() as tx:
        for place, (code, task_id) in enumerate(ids.items()):
            tx.session.add(
                ExecutionTask(
                    id=task_id,
                    execution_id=made.id,
                    parent_id=ids["1"] if "." in code else None,
                    position=place,
                    code=code,
                    title=f"Task {code}",
                )
            )
            tx.session.flush()
        for job, task in where.items():
            found = tx.session.get(Job, made.jobs[job])
            assert found is not None
            found.task_id = ids[task]


def test_the_tree_nests_and_computes_statuses(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"], "c": ["b"], "loose": ["c"]})
    plant(database, made, {"a": "1.1", "b": "1.1", "c": "1.2"})
    agent = people.agent()
    given = report(agent, made, claim(agent), "completed", next_one=True)
    report(agent, made, given["work"][0], "progress", percent=70)
    tree = member.get(f"/api/executions/{made.id}/tree").json
    [phase] = tree["tasks"]
    assert (phase["status"], phase["counts"]) == (
        "running",
        {"completed": 1, "pending": 1, "running": 1},
    )
    first, second = phase["tasks"]
    assert (first["status"], second["status"]) == ("running", "pending")
    assert [(job["code"], job["status"], job["percent"]) for job in first["jobs"]] == [
        ("a", "completed", None),
        ("b", "running", 70),
    ]
    assert [job["code"] for job in tree["jobs"]] == ["loose"]


def test_an_export_holds_everything_and_says_that_it_is_whole(
    database: Database, people: People, member: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "BATCH", 2)
    made = make_run(
        database,
        member.id,
        {"a": [], "b": ["a"], "c": ["a"]},
        execution={"callback_url": "https://user:secret@example.org/hook"},
    )
    work_off(people.agent(), made)
    answer = member.get(f"/api/executions/{made.id}/export")
    assert answer.mimetype == "application/jsonl"
    assert "secret" not in answer.text
    lines = [orjson.loads(line) for line in answer.data.splitlines()]
    kinds: dict[str, int] = {}
    for line in lines[:-1]:
        kinds[line["kind"]] = kinds.get(line["kind"], 0) + 1
    last = member.get(f"/api/executions/{made.id}").json["last_event"]
    assert kinds == {"execution": 1, "job": 3, "dependency": 2, "attempt": 3, "event": last}
    assert lines[-1] == {"kind": "end", "data": {"format": 1, "lines": kinds}}


def test_an_export_holds_no_connection_while_its_reader_is_slow(
    database: Database, people: People, member: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "BATCH", 1)
    made = make_run(database, member.id, {code: [] for code in "abc"})
    reading = member.get(f"/api/executions/{made.id}/export", buffered=False)
    chunks = iter(reading.response)
    next(chunks)
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    reading.close()


def test_reading_while_it_runs_misses_nothing(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {str(number): [] for number in range(30)})
    agent = people.agent()
    worker = threading.Thread(target=work_off, args=(agent, made))
    worker.start()
    read: list[int] = []
    after = 0
    while True:
        alive = worker.is_alive()
        page = member.get(f"/api/executions/{made.id}/events?after={after}&limit=7").json
        read += [one["number"] for one in page["items"]]
        after = page["next_after"]
        if not alive and after >= page["last"]:
            break
    worker.join()
    assert read == list(range(1, page["last"] + 1))
