"""What people and the clock do in the stateful test, and those who may not."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from app.control import sweeps
from app.executions.states import ENDED, SERVING
from tests.handoff.world import PICK, Stage, plans

STEPS: Final = (1, 40, 130, 650, 1000, 4000, 90_000)
ACTIONS: Final = ("start", "pause", "pause", "pause", "resume", "resume", "retry", "cancel")
JOB_ACTS: Final = ("retry", "retry", "skip", "complete", "cancel", "assign", "decompose")
MOVABLE: Final = {
    "retry": ("failed", "cancelled", "blocked"),
    "skip": ("pending", "ready", "waiting", "blocked", "failed"),
    "complete": ("ready", "blocked"),
    "decompose": ("pending", "ready", "waiting", "blocked", "failed"),
}
NATURAL: Final = {"created": "start", "paused": "resume", "failed": "retry"}
ASIDE: Final = (
    "decide_without_the_right",
    "meddle",
    "change",
    "change",
    "lose_the_bell",
    "pause",
    "active",
    "active",
    "limit",
    "retire",
)
DECISIONS: Final = ("approve", "approve", "reject", "send_back", "choose", "answer")


class PeopleAtWork(Stage):
    """Steering, deciding, waiting; and strangers who try the same."""

    def steer(self, pick: int, action: str, flavour: int) -> None:
        execution = self.run(pick)
        was = self.now.executions[execution].status
        if flavour > 4 and was in NATURAL:
            action = NATURAL[was]
        elif action == "cancel" and flavour:
            action = "pause"
        body: dict[str, Any] = {"action": action, "reason": "because"}
        if action in ("resume", "retry") and flavour % 2:
            body["budget"] = None
        answer = self.send_again(self.world.owner, "PATCH", f"/api/executions/{execution}", body)
        if action == "cancel":
            final = was in ("completed", "cancelled")
            assert answer.status_code == (409 if final else 200), answer.text

    def send_again(self, *call: Any) -> Any:
        self.sent.append((self.send_again, *call))
        return self.call(*call)

    def change(self, pick: int, flavour: int) -> None:
        tokens = (None, 1, 60, 200)[flavour % 4]
        body: dict[str, Any] = {"budget": None if tokens is None else {"tokens": tokens}}
        if flavour > 7:
            body["priority"] = flavour - 7
        self.call(self.world.owner, "PATCH", f"/api/executions/{self.run(pick)}", body)

    def move_a_job(self, pick: int, act: str, flavour: int) -> None:
        jobs = list(self.now.jobs.values())
        likely = [job for job in jobs if job.status in MOVABLE.get(act, (job.status,))]
        among = likely if likely and flavour else jobs
        job = among[pick % len(among)]
        path = f"/api/executions/{job.execution_id}/jobs/{job.id}/{act}"
        self.send_again(self.world.owner, "POST", path, self.body_of(act, flavour))

    def body_of(self, act: str, flavour: int) -> dict[str, Any]:
        if act == "assign":
            hand = self.hand(flavour)
            return {"agent_id": None if flavour > 10 else str(hand.id)}
        if act == "decompose":
            return {"jobs": self.parts(flavour)}
        if act == "complete":
            return {"output": {"by": "hand"}}
        return {"reason": "because"}

    def parts(self, flavour: int) -> list[dict[str, Any]]:
        raise NotImplementedError

    def decide(self, pick: int, decision: str, which: int) -> None:
        checkpoint = self.checkpoint(pick)
        body = verdict(checkpoint, decision, which)
        path = f"/api/checkpoints/{checkpoint.id}"
        answer = self.send_again(self.world.admin, "POST", path, body)
        if checkpoint.status != "pending":
            assert answer.status_code == 409, answer.text
        elif decision in ("approve", "reject", "send_back"):
            assert answer.status_code == 200, f"{checkpoint}: {answer.text}"

    def checkpoint(self, pick: int) -> Any:
        """Most often one that is open."""
        every = list(self.now.checkpoints.values())
        pending = [one for one in every if one.status == "pending"]
        among = pending if pending and pick % 4 else every
        return among[pick % len(among)]

    def do_something_rare(self, what: str, pick: int, other: int, flavour: int) -> None:
        if what == "decide_without_the_right":
            if self.now.checkpoints:
                self.decide_without_the_right(pick, other)
        elif what == "meddle":
            self.meddle(pick, JOB_ACTS[flavour % 7], ACTIONS[flavour % 8], other)
        elif what == "change":
            self.change(pick, flavour)
        elif what == "lose_the_bell":
            self.lose_the_bell(lost=flavour > 7)
        else:
            self.look_after_an_agent(pick, what)

    def decide_without_the_right(self, pick: int, agent: int) -> None:
        checkpoint = self.checkpoint(pick)
        path, body = f"/api/checkpoints/{checkpoint.id}", {"decision": "approve"}
        hand = self.hand(agent)
        by_agent = self.call(hand.key, "POST", path, body)
        assert by_agent.status_code in (401, 403), by_agent.text
        assert self.call(self.world.stranger, "POST", path, body).status_code == 404
        if checkpoint.kind == "approval":
            assert self.call(self.world.owner, "POST", path, body).status_code == 403

    def meddle(self, pick: int, act: str, action: str, agent: int) -> None:
        """A stranger sees nothing of it, and an agent's key steers nothing."""
        execution = self.run(pick)
        job = next(one for one in self.now.jobs.values() if one.execution_id == execution)
        paths = (
            ("PATCH", f"/api/executions/{execution}", {"action": action}),
            ("POST", f"/api/executions/{execution}/jobs/{job.id}/{act}", self.body_of(act, 0)),
        )
        for method, path, body in paths:
            assert self.call(self.world.stranger, method, path, body).status_code == 404
            refused = self.call(self.hand(agent).key, method, path, body)
            assert refused.status_code in (401, 403, 404), refused.text

    def time_goes_by(self, seconds: int) -> None:
        self.world.database.shift += dt.timedelta(seconds=seconds)
        self.unchanged = True

    def sweep(self, which: str) -> None:
        self.sound = False
        database = self.world.database
        with database.transaction() as tx:
            now = tx.now
        if which == "leases":
            sweeps.sweep_leases(database)
        elif which == "bell":
            sweeps.sweep_bell(database)
            self.watch.swept = now
        else:
            sweeps.sweep_executions(database)
        after = self.watch.look()
        for lease in after.leases.values():
            runs = lease.ended_at is None and lease.stilled_at is None
            assert which != "leases" or not (runs and lease.expires_at <= now), f"left: {lease}"
        for one in after.executions.values():
            late = one.status in SERVING and one.deadline_at and one.deadline_at <= now
            assert which != "executions" or not late, f"left: {one}"

    def look_after_an_agent(self, pick: int, what: str) -> None:
        hand = self.hand(pick)
        path = f"/api/agents/{hand.id}"
        operator = self.world.operator
        if what == "retire":
            if pick % 3 == 0:
                place = self.hands.index(hand)
                self.call(operator, "DELETE", path)
                if not hand.retired:
                    hand.retired = True
                    most, lanes, kind = self.crew[place % len(self.crew)]
                    self.hire(most, lanes, kind)
            return
        body = {"limit": {"max_concurrent": 1 + pick % 4}, "pause": {"status": "paused"}}
        self.call(operator, "PATCH", path, body.get(what, {"status": "active"}))

    @precondition(lambda self: all(one.status in ENDED for one in self.now.executions.values()))
    def begin_another(self, plan: dict[str, Any]) -> None:
        self.sound = False
        self.make(plan)

    def lose_the_bell(self, lost: bool) -> None:
        """Rings that go nowhere change nothing of what is stored."""
        dispatch = self.world.database.dispatch
        dispatch.bell = None if lost else self.world.app.extensions["taskyard.bell"]

    def run(self, pick: int) -> uuid.UUID:
        return self.runs[pick % len(self.runs)]

    def bring_to_an_end(self) -> None:
        """Once faults stop and people answer, every execution ends."""
        owner, operator = self.world.owner, self.world.operator
        for _ in range(40):
            self.world.database.shift += dt.timedelta(seconds=4000)
            for execution in self.now.executions.values():
                if execution.status in ("created", "paused"):
                    action = "start" if execution.status == "created" else "resume"
                    body = {"action": action, "budget": None, "deadline": None}
                    self.call(owner, "PATCH", f"/api/executions/{execution.id}", body)
                    self.look()
            for asked in list(self.now.checkpoints):
                checkpoint = self.now.checkpoints[asked]
                if checkpoint.status == "pending" and checkpoint.blocking:
                    body = verdict(checkpoint, "approve" if not checkpoint.options else "choose", 2)
                    path = f"/api/checkpoints/{checkpoint.id}"
                    assert self.call(self.world.admin, "POST", path, body).status_code == 200
                    self.look()
            sweeps.sweep_leases(self.world.database)
            sweeps.sweep_bell(self.world.database)
            self.look()
            if all(one.status in ENDED for one in self.now.executions.values()):
                return
            for hand in self.hands:
                if not hand.retired:
                    body = {"status": "active", "max_concurrent": 9}
                    self.call(operator, "PATCH", f"/api/agents/{hand.id}", body)
                    self.call(hand.key, "GET", f"/api/agents/{hand.id}/work?max=9")
                    self.finish_what_it_holds(hand)
                    self.look()
        left = [one for one in self.now.jobs.values() if one.status not in ("completed", "skipped")]
        raise AssertionError(f"never ended: {list(self.now.executions.values())}, left: {left}")

    def look(self) -> None:
        self.unchanged = False
        self.promises_hold()

    def finish_what_it_holds(self, hand: Any) -> None:
        answer = self.call(hand.key, "GET", f"/api/agents/{hand.id}/leases")
        for one in answer.json["work"]:
            said = {"job_id": one["job"]["id"], "token": one["lease"]["token"], "type": "completed"}
            path = f"/api/executions/{one['execution_id']}/events"
            self.call(hand.key, "POST", path, said)


def verdict(checkpoint: Any, decision: str, which: int) -> dict[str, Any]:
    body: dict[str, Any] = {"decision": decision, "reason": "because"}
    if decision == "choose":
        ids = [one["id"] for one in checkpoint.options if isinstance(one, dict)] or ["none"]
        body["option"] = ids[which % len(ids)]
    if decision == "answer":
        body["answer"] = "42"
    return body
