"""The two calls, over HTTP, from the first claim to the last completion."""

from __future__ import annotations

from app.db import Database
from tests.fresh import Key, People
from tests.handoff.runs import make_run


def test_an_agent_works_a_chain_to_its_end(database: Database, people: People, member: Key) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"], "c": ["b"]})
    agent = people.agent()
    answer = agent.get(f"/api/agents/{agent.id}/work")
    assert answer.status_code == 200, answer.json
    [piece] = answer.json["work"]
    seen = []
    while True:
        seen.append(piece["job"]["code"])
        said = {
            "type": "completed",
            "job_id": piece["job"]["id"],
            "token": piece["lease"]["token"],
            "output": {"wrote": piece["job"]["code"]},
        }
        answer = agent.post(f"/api/executions/{made.id}/events?next=1", said)
        assert answer.status_code == 201, answer.json
        assert answer.json["status"] == "completed"
        again = agent.post(f"/api/executions/{made.id}/events?next=1", said)
        assert again.status_code == 201, again.json
        assert again.json["number"] == answer.json["number"]
        assert again.json["work"] == answer.json["work"]
        if not answer.json["work"]:
            break
        [piece] = answer.json["work"]
        assert piece["job"]["inputs"] == {seen[-1]: {"wrote": seen[-1]}}
    assert seen == ["a", "b", "c"]
    with database.transaction() as tx:
        row = tx.fetch("SELECT * FROM executions WHERE id = %s", [made.id])
        events = tx.execute(
            "SELECT number, type FROM execution_events WHERE execution_id = %s ORDER BY number",
            [made.id],
        ).fetchall()
    assert row["status"] == "completed"
    assert [one["number"] for one in events] == list(range(1, row["last_event"] + 1))
