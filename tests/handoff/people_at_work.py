"""What people and the clock do in the stateful test, and those who may not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from random import Random
from typing import Any, Final

from app.control import sweeps
from app.executions.states import ENDED, SERVING
from tests.handoff.world import Stage, any_plan

STEPS: Final = (1, 40, 130, 650, 1000, 4000, 90_000)
ACTIONS: Final = ("start", "pause", "pause", "pause", "resume", "retry", "cancel")
NATURAL: Final = {"created": "start", "paused": "resume", "failed": "retry"}
JOB_ACTS: Final = (
    *("retry", "retry", "retry", "skip", "skip", "complete", "complete", "cancel", "cancel"),
    *("assign", "assign", "decompose"),
)
MOVABLE: Final = {
    "retry": ("failed", "cancelled", "blocked"),
    "skip": ("pending", "ready", "waiting", "blocked", "failed"),
    "complete": ("ready", "blocked"),
    "decompose": ("pending", "ready", "waiting", "blocked", "failed"),
}
DECISIONS: Final = ("approve", "approve", "reject", "send_back", "choose", "answer")


class PeopleAtWork(Stage):
    """Steering, deciding, waiting; and strangers who try the same."""

    def act_as_a_person(self, dice: Random) -> None:
        going = sum(one.status not in ENDED for one in self.now.executions.values())
        if dice.random() < (1, 0.2, 0)[min(going, 2)]:
            self.sound = False
            self.make(any_plan(dice))
        elif self.waits_for_somebody() and dice.random() < 0.5:
            self.decide(dice)
        elif dice.random() < 0.5:
            self.steer(dice)
        else:
            self.move_a_job(dice)

    def waits_for_somebody(self) -> bool:
        return any(one.status == "pending" for one in self.now.checkpoints.values())

    def act_as_the_clock(self, dice: Random) -> None:
        if dice.random() < 0.5:
            self.world.database.shift += dt.timedelta(seconds=dice.choice(STEPS))
            self.unchanged = True
        else:
            self.sweep(dice.choice(("leases", "bell", "executions")))

    def do_something_rare(self, dice: Random) -> None:
        rare: list[Callable[[Random], None]] = [
            self.meddle,
            self.change,
            self.look_after_an_agent,
            self.lose_the_bell,
        ]
        if self.now.checkpoints:
            rare.append(self.decide_without_the_right)
        dice.choice(rare)(dice)

    def steer(self, dice: Random) -> None:
        execution = dice.choice(self.runs)
        was, action = self.now.executions[execution].status, dice.choice(ACTIONS)
        if was in NATURAL and dice.random() < 0.7:
            action = NATURAL[was]
        elif action == "cancel" and dice.random() < 0.8:
            action = "resume"
        body: dict[str, Any] = {"action": action, "reason": "because"}
        if action in ("resume", "retry") and dice.random() < 0.5:
            body["budget"] = None
        answer = self.send_again(self.world.owner, "PATCH", f"/api/executions/{execution}", body)
        if action == "cancel":
            final = was in ("completed", "cancelled")
            assert answer.status_code == (409 if final else 200), answer.text

    def send_again(self, *call: Any) -> Any:
        self.sent.append((self.send_again, *call))
        return self.call(*call)

    def change(self, dice: Random) -> None:
        tokens = dice.choice((None, 1, 60, 200))
        body: dict[str, Any] = {"budget": None if tokens is None else {"tokens": tokens}}
        if dice.random() < 0.5:
            body["priority"] = dice.randrange(10)
        self.call(self.world.owner, "PATCH", f"/api/executions/{dice.choice(self.runs)}", body)

    def move_a_job(self, dice: Random) -> None:
        act = dice.choice(JOB_ACTS)
        jobs = list(self.now.jobs.values())
        likely = [job for job in jobs if job.status in MOVABLE.get(act, (job.status,))]
        job = dice.choice(likely if likely and dice.random() < 0.9 else jobs)
        path = f"/api/executions/{job.execution_id}/jobs/{job.id}/{act}"
        self.send_again(self.world.owner, "POST", path, self.body_of(act, dice))

    def body_of(self, act: str, dice: Random) -> dict[str, Any]:
        if act == "assign":
            return {"agent_id": dice.choice((None, str(dice.choice(self.hands).id)))}
        if act == "decompose":
            return {"jobs": self.parts(dice)}
        if act == "complete":
            return {"output": {"by": "hand"}}
        return {"reason": "because"}

    def parts(self, dice: Random) -> list[dict[str, Any]]:
        raise NotImplementedError

    def decide(self, dice: Random) -> None:
        checkpoint, decision = self.checkpoint(dice), dice.choice(DECISIONS)
        body = verdict(checkpoint, decision, dice.randrange(9))
        answer = self.send_again(
            self.world.admin, "POST", f"/api/checkpoints/{checkpoint.id}", body
        )
        if checkpoint.status != "pending":
            assert answer.status_code == 409, answer.text
        elif decision in ("approve", "reject", "send_back"):
            assert answer.status_code == 200, f"{checkpoint}: {answer.text}"

    def checkpoint(self, dice: Random) -> Any:
        """Most often one that is open."""
        every = list(self.now.checkpoints.values())
        pending = [one for one in every if one.status == "pending"]
        return dice.choice(pending if pending and dice.random() < 0.8 else every)

    def decide_without_the_right(self, dice: Random) -> None:
        checkpoint = self.checkpoint(dice)
        path, body = f"/api/checkpoints/{checkpoint.id}", {"decision": "approve"}
        by_agent = self.call(dice.choice(self.hands).key, "POST", path, body)
        assert by_agent.status_code in (401, 403), by_agent.text
        assert self.call(self.world.stranger, "POST", path, body).status_code == 404
        if checkpoint.kind == "approval":
            assert self.call(self.world.owner, "POST", path, body).status_code == 403

    def meddle(self, dice: Random) -> None:
        """A stranger sees nothing of it, and an agent's key steers nothing."""
        job = dice.choice(list(self.now.jobs.values()))
        act, path = dice.choice(JOB_ACTS), f"/api/executions/{job.execution_id}"
        for method, door, body in (
            ("PATCH", path, {"action": dice.choice(ACTIONS)}),
            ("POST", f"{path}/jobs/{job.id}/{act}", self.body_of(act, dice)),
        ):
            refused = self.call(self.world.stranger, method, door, body)
            assert refused.status_code == 404, refused.text
            refused = self.call(dice.choice(self.hands).key, method, door, body)
            assert refused.status_code in (401, 403, 404), refused.text

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

    def look_after_an_agent(self, dice: Random) -> None:
        hand = dice.choice(self.hands)
        path, operator = f"/api/agents/{hand.id}", self.world.operator
        if dice.random() < 0.1:
            self.call(operator, "DELETE", path)
            if not hand.retired:
                hand.retired = True
                self.hire(*self.crew[self.hands.index(hand) % len(self.crew)])
            return
        changes = (
            {"status": "paused"},
            {"status": "active"},
            {"max_concurrent": dice.randint(1, 4)},
        )
        self.call(operator, "PATCH", path, dice.choice(changes))

    def lose_the_bell(self, dice: Random) -> None:
        """Rings that go nowhere change nothing of what is stored."""
        dispatch = self.world.database.dispatch
        dispatch.bell = dice.choice((None, self.world.app.extensions["taskyard.bell"]))

    def bring_to_an_end(self) -> None:
        """Once faults stop and people answer, every execution ends."""
        owner, operator = self.world.owner, self.world.operator
        for _ in range(40 + 2 * len(self.now.jobs)):
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
        self.look_again()

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
