"""What agents do in the stateful test, and what each call must be answered."""

from __future__ import annotations

import uuid
from random import Random
from typing import Any, Final

from tests.handoff.world import Hand, Piece, Stage

TERMINAL: Final = ("completed", "failed", "blocked", "released", "decomposed")
WHILE_WAITING: Final = ("heartbeat", "log", "usage", "progress", "released")
ERRORS: Final = (
    "transient",
    "transient",
    "quota",
    "bad_input",
    "needs_human",
    "timeout",
    "decomposition_failed",
    "fatal",
)
KINDS: Final = (
    *("started", "started", "heartbeat", "heartbeat", "progress", "log", "usage", "usage"),
    *("checkpoint", "completed", "completed", "completed", "failed", "failed", "blocked"),
    *("released", "decomposed"),
)
KEYS: Final = (None, None, None, None, 1, 2, 3)


class AgentsAtWork(Stage):
    """Polls and reports, the same again, and what comes too late."""

    def __init__(self) -> None:
        super().__init__()
        # What the server must remember: by agent and key the report and its answer, by agent and
        # key or claim the leases that were handed out under it.
        self.receipts: dict[tuple[uuid.UUID, str], tuple[Any, Any]] = {}
        self.handed: dict[tuple[uuid.UUID, str], list[uuid.UUID]] = {}

    def act_as_an_agent(self, dice: Random) -> None:
        live = [one for one in self.pieces if self.now.leases[one.lease].ended_at is None]
        chance = dice.random()
        if live and chance < 0.6:
            self.report(dice, dice.choice(live))
        elif live and chance < 0.7:
            self.report_many(dice, live)
        elif self.pieces and chance > 0.94:
            self.report(dice, dice.choice(self.pieces))
        elif chance > 0.9:
            self.restart(dice.choice(self.hands))
        else:
            self.poll(dice)

    def do_something_again(self, dice: Random) -> None:
        if self.sent:
            again, *said = dice.choice(self.sent)
            again(*said)
            self.sent.pop()

    def poll(self, dice: Random) -> None:
        query = f"max={dice.choice((1, 1, 2, 9))}&lease_seconds={dice.choice((5, 900, 86_400))}"
        claim = dice.choice(KEYS)
        if claim is not None:
            query += f"&claim=c{claim}"
        if dice.random() < 0.2:
            query += f"&actions={self.lane(dice.choice('ab'))}"
        self.send_poll(dice.choice(self.hands), dice.choice(("GET", "POST")), query)

    def send_poll(self, hand: Hand, method: str, query: str) -> None:
        self.sent.append((self.send_poll, hand, method, query))
        asked = dict(one.split("=") for one in query.split("&"))
        answer = self.call(hand.key, method, f"/api/agents/{hand.id}/work?{query}")
        if hand.retired:
            assert answer.status_code in (401, 403), answer.text
            return
        assert answer.status_code in (200, 204), answer.text
        work = answer.json["work"] if answer.status_code == 200 else []
        got = [uuid.UUID(one["lease"]["id"]) for one in work]
        claim = asked.get("claim")
        before = self.handed.get((hand.id, f"claim {claim}")) if claim else None
        if before:
            self.unchanged = True
            assert got == [one for one in before if self.now.leases[one].ended_at is None]
            return
        expected = self.room_of(hand, int(asked["max"]), asked.get("actions"))
        assert len(got) == expected, (
            f"{len(got)} of {expected} jobs for {hand.lanes}: {answer.text}"
        )
        self.adopt(hand, work)
        if claim:
            self.handed[hand.id, f"claim {claim}"] = got

    def room_of(self, hand: Hand, most: int, action: str | None = None) -> int:
        """How many jobs a poll of this agent must bring: nobody else is there."""
        agent = self.now.agents[hand.id]
        busy = sum(lease.stilled_at is None for lease in self.live_of(hand))
        if agent.status == "paused":
            return 0
        lanes = [*hand.lanes, f"agent:{hand.id}"]
        there = [
            job
            for job in self.now.jobs.values()
            if job.offered and job.lane in lanes and (action is None or job.action == action)
        ]
        return max(0, min(most, agent.max_concurrent - busy, len(there)))

    def report(self, dice: Random, piece: Piece) -> None:
        said = self.say(piece, dice)
        self.send_report(self.hands[piece.hand], piece.execution, said, dice.random() < 0.5)

    def report_with_anothers_token(self, dice: Random) -> None:
        if not self.pieces:
            return
        piece, hand = dice.choice(self.pieces), dice.choice(self.hands)
        if hand is not self.hands[piece.hand]:
            path = f"/api/executions/{piece.execution}/events"
            answer = self.call(hand.key, "POST", path, self.say(piece, dice))
            assert answer.status_code in (401, 403, 404, 409), answer.text

    def say(self, piece: Piece, dice: Random) -> dict[str, Any]:
        kind, flavour = dice.choice(KINDS), dice.randrange(16)
        said: dict[str, Any] = {"type": kind, "job_id": piece.job, "token": piece.token}
        if kind == "progress":
            said["percent"] = flavour * 5
        elif kind == "usage":
            said |= {"tokens": flavour * 4, "cost": 0.25}
        elif kind == "completed":
            said["output"] = {"flavour": flavour}
            said["human_review_required"] = flavour == 0
        elif kind == "failed":
            said["error"] = {"class": dice.choice(ERRORS), "message": "It went wrong."}
        elif kind == "blocked":
            said |= {"on": "a letter", "recheck_after": 60}
        elif kind == "checkpoint":
            asked = ("info", "approval", "question")[flavour % 3]
            said |= {"kind": asked, "title": "May I?", "options": [{"id": "yes"}, {"id": "no"}]}
        elif kind == "decomposed":
            said["jobs"] = self.parts(dice)
        key = dice.choice(KEYS)
        return said if key is None else {**said, "idempotency_key": f"k{key}"}

    def parts(self, dice: Random) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"code": "1", "title": "First"}]
        if dice.random() < 0.5:
            parts.append({"code": "2", "title": "Second", "prerequisites": ["1"]})
        if dice.random() < 0.5:
            parts.append({"code": "1.1", "title": "Beside", "action": self.lane("b")})
        if dice.random() < 0.1:
            parts[0]["prerequisites"] = [parts[-1]["code"]]  # a circle, most often
        return parts

    def send_report(self, hand: Hand, execution: str, said: dict[str, Any], more: bool) -> None:
        self.sent.append((self.send_report, hand, execution, said, more))
        path = f"/api/executions/{execution}/events" + ("?next=1" if more else "")
        answer = self.call(hand.key, "POST", path, said)
        if hand.retired:
            assert answer.status_code in (401, 403), answer.text
            return
        keys = keys_of(said)
        known = next((found for key in keys if (found := self.receipts.get((hand.id, key)))), None)
        lease = next(one for one in self.now.leases.values() if one.id.hex == said["token"][:32])
        job = self.now.jobs[lease.job_id]
        if known is not None:
            self.unchanged = True
            same = known[0] == without_key(said)
            assert answer.status_code == (201 if same else 409), f"{known}: {answer.text}"
            if same:
                assert answer.json["repeated"] is True
                told = {name: value for name, value in answer.json.items() if name in known[1]}
                assert told == known[1]
                before = self.handed.get((hand.id, "\n".join(keys)), ())
                live = [one for one in before if self.now.leases[one].ended_at is None]
                assert not more or ids_of(answer.json["work"]) == live
            return
        held = lease.ended_at is None and lease.agent_id == hand.id
        may = held and (job.status != "waiting" or said["type"] in WHILE_WAITING)
        if may and answer.status_code == 422 and said["type"] == "decomposed":
            return  # parts that do not hold together
        assert answer.status_code == (201 if may else 409), f"{job} {lease}: {answer.text}"
        if may:
            told = {name: answer.json[name] for name in ("number", "type", "status", "expires_at")}
            for key in keys:
                self.receipts[hand.id, key] = (without_key(said), told)
            if more:
                got = self.adopt(hand, answer.json["work"])
                if keys:
                    self.handed[hand.id, "\n".join(keys)] = got

    def report_many(self, dice: Random, live: list[Piece]) -> None:
        first = dice.choice(live)
        among = [one for one in self.pieces if one.hand == first.hand]
        reports = [self.say(dice.choice(among), dice) for _ in range(dice.randint(0, 3))]
        reports.append(self.say(first, dice))
        dice.shuffle(reports)
        self.send_many(self.hands[first.hand], first.execution, reports, dice.random() < 0.5)

    def send_many(
        self, hand: Hand, execution: str, reports: list[dict[str, Any]], more: bool
    ) -> None:
        """Each is judged by itself: which are taken depends on those before it."""
        self.sent.append((self.send_many, hand, execution, reports, more))
        path = f"/api/executions/{execution}/events" + ("?next=1" if more else "")
        answer = self.call(hand.key, "POST", path, {"events": reports})
        if hand.retired:
            assert answer.status_code in (401, 403), answer.text
            return
        assert answer.status_code == 201, answer.text
        assert len(answer.json["results"]) == len(reports)
        taken = []
        for said, result in zip(reports, answer.json["results"], strict=True):
            if "detail" in result:
                assert 400 <= result["status"] < 500, result
                continue
            taken.append(said)
            told = {name: result[name] for name in ("number", "type", "status", "expires_at")}
            known = [self.receipts.get((hand.id, key)) for key in keys_of(said)]
            if "repeated" in result:
                assert (without_key(said), told) in known, (known, result)
            else:
                assert known == [None] * len(known), (known, result)
                for key in keys_of(said):
                    self.receipts[hand.id, key] = (without_key(said), told)
        if more:
            new = [one for one in answer.json["work"] if self.is_new(one)]
            assert taken or not new, f"nothing was accepted: {answer.text}"
            got = self.adopt(hand, new)
            keys = "\n".join(key for said in taken for key in keys_of(said))
            if keys and got:
                self.handed[hand.id, keys] = got

    def is_new(self, work: dict[str, Any]) -> bool:
        return uuid.UUID(work["lease"]["id"]) not in self.now.leases

    def restart(self, hand: Hand) -> None:
        """It forgot everything, and is told what it holds."""
        answer = self.call(hand.key, "GET", f"/api/agents/{hand.id}/leases")
        if hand.retired:
            assert answer.status_code in (401, 403), answer.text
            return
        self.unchanged = True
        assert ids_of(answer.json["work"]) == [one.id for one in self.live_of(hand)]
        tokens = {piece.lease: piece.token for piece in self.pieces}
        for one in answer.json["work"]:
            assert one["lease"]["token"] == tokens[uuid.UUID(one["lease"]["id"])]


def keys_of(said: dict[str, Any]) -> list[str]:
    keys = [f"key {said['idempotency_key']}"] if "idempotency_key" in said else []
    return keys + ([f"end {said['token']}"] if said["type"] in TERMINAL else [])


def without_key(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "idempotency_key"}


def ids_of(work: list[dict[str, Any]]) -> list[uuid.UUID]:
    return [uuid.UUID(one["lease"]["id"]) for one in work]
