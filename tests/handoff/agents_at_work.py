"""What agents do in the stateful test, and what each call must be answered."""

from __future__ import annotations

import uuid
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from app.executions.states import SERVING
from tests.handoff.world import PICK, Hand, Piece, Stage

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
    "started",
    "heartbeat",
    "progress",
    "log",
    "usage",
    "checkpoint",
    "completed",
    "completed",
    "completed",
    "failed",
    "failed",
    "blocked",
    "released",
    "decomposed",
)
FLAVOURS = st.integers(0, 15)
KEYS = st.sampled_from((None, None, None, 1, 2, 3))


class AgentsAtWork(Stage):
    """Polls and reports, the same again, and what comes too late."""

    def __init__(self) -> None:
        super().__init__()
        # What the server must remember: by agent and key the report and its answer, by agent and
        # key or claim the leases that were handed out under it.
        self.receipts: dict[tuple[uuid.UUID, str], tuple[Any, Any]] = {}
        self.handed: dict[tuple[uuid.UUID, str], list[uuid.UUID]] = {}

    def poll(self, pick: int, most: int, claim: int | None, seconds: int, narrow: int) -> None:
        query = f"max={most}&lease_seconds={seconds}"
        if claim is not None:
            query += f"&claim=c{claim}"
        if narrow < 2:
            query += f"&actions={self.lane('ab'[narrow])}"
        self.send_poll(self.hand(pick), "POST" if most == 2 else "GET", query)

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

    def report(self, pick: int, kind: str, flavour: int, key: int | None, more: bool) -> None:
        piece = self.piece(pick)
        said = self.say(piece, kind, flavour)
        if key is not None:
            said["idempotency_key"] = f"k{key}"
        self.send_report(self.hands[piece.hand], piece.execution, said, more)

    def work(self, pick: int, kind: str, flavour: int, more: bool) -> None:
        """The usual way of an agent that holds something."""
        live = [one for one in self.pieces if self.now.leases[one.lease].ended_at is None]
        if live:
            piece = live[pick % len(live)]
            said = self.say(piece, kind, flavour)
            self.send_report(self.hands[piece.hand], piece.execution, said, more)

    def poll_for_all(self, pick: int) -> None:
        self.send_poll(self.hand(pick), "GET", "max=9")

    def report_with_anothers_token(self, pick: int, thief: int, kind: str) -> None:
        piece = self.piece(pick)
        hand = self.hand(thief)
        if hand is self.hands[piece.hand]:
            return
        said = self.say(piece, kind, 0)
        answer = self.call(hand.key, "POST", f"/api/executions/{piece.execution}/events", said)
        assert answer.status_code in (401, 403, 404, 409), answer.text

    def piece(self, pick: int) -> Piece:
        """Most often one whose lease is live."""
        live = [one for one in self.pieces if self.now.leases[one.lease].ended_at is None]
        among = live if live and pick % 4 else self.pieces
        return among[pick % len(among)]

    def say(self, piece: Piece, kind: str, flavour: int) -> dict[str, Any]:
        said: dict[str, Any] = {"type": kind, "job_id": piece.job, "token": piece.token}
        if kind == "progress":
            said["percent"] = flavour * 5
        elif kind == "usage":
            said |= {"tokens": flavour * 4, "cost": 0.25}
        elif kind == "completed":
            said["output"] = {"flavour": flavour}
            said["human_review_required"] = flavour == 0
        elif kind == "failed":
            said["error"] = {"class": ERRORS[flavour % len(ERRORS)], "message": "It went wrong."}
        elif kind == "blocked":
            said |= {"on": "a letter", "recheck_after": 60}
        elif kind == "checkpoint":
            asked = ("info", "approval", "question")[flavour % 3]
            said |= {"kind": asked, "title": "May I?", "options": [{"id": "yes"}, {"id": "no"}]}
        elif kind == "decomposed":
            said["jobs"] = self.parts(flavour)
        return said

    def parts(self, flavour: int) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"code": "1", "title": "First"}]
        if flavour & 1:
            parts.append({"code": "2", "title": "Second", "prerequisites": ["1"]})
        if flavour & 2:
            parts.append({"code": "1.1", "title": "Beside", "action": self.lane("b")})
        if flavour == 15:
            parts[0]["prerequisites"] = ["2"]  # a circle
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
                before = self.handed.get((hand.id, keys[-1]), ())
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
                    self.handed[hand.id, keys[-1]] = got

    @rule(
        said=st.lists(
            st.tuples(PICK, st.sampled_from(KINDS), FLAVOURS, KEYS), min_size=1, max_size=4
        ),
        more=st.booleans(),
    )
    def report_many(self, said: list[tuple[int, str, int, int | None]], more: bool) -> None:
        first = self.piece(said[0][0])
        hand = self.hands[first.hand]
        reports = []
        for pick, kind, flavour, key in said:
            one = self.say(self.piece(pick), kind, flavour)
            if key is not None:
                one["idempotency_key"] = f"k{key}"
            reports.append(one)
        self.send_many(hand, first.execution, reports, more)

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
            taken.append(result)
            told = {name: result[name] for name in ("number", "type", "status", "expires_at")}
            for key in keys_of(said):
                known = self.receipts.setdefault((hand.id, key), (without_key(said), told))
                assert known == (without_key(said), told), (known, result)
        if more:
            new = [one for one in answer.json["work"] if self.is_new(one)]
            assert taken or not new, f"nothing was accepted: {answer.text}"
            got = self.adopt(hand, new)
            keys = [key for said in reports for key in keys_of(said)]
            if keys and got:
                self.handed[hand.id, keys[-1]] = got

    def is_new(self, work: dict[str, Any]) -> bool:
        return uuid.UUID(work["lease"]["id"]) not in self.now.leases

    def send_any_old_request_again(self, pick: int) -> None:
        again, *said = self.sent[pick % len(self.sent)]
        again(*said)
        self.sent.pop()

    def restart(self, pick: int) -> None:
        """It forgot everything, and is told what it holds."""
        hand = self.hand(pick)
        answer = self.call(hand.key, "GET", f"/api/agents/{hand.id}/leases")
        if hand.retired:
            assert answer.status_code in (401, 403), answer.text
            return
        self.unchanged = True
        assert ids_of(answer.json["work"]) == [one.id for one in self.live_of(hand)]
        tokens = {piece.lease: piece.token for piece in self.pieces}
        for one in answer.json["work"]:
            assert one["lease"]["token"] == tokens[uuid.UUID(one["lease"]["id"])]

    def serving(self, execution: uuid.UUID) -> bool:
        return self.now.executions[execution].status in SERVING


def keys_of(said: dict[str, Any]) -> list[str]:
    keys = [f"key {said['idempotency_key']}"] if "idempotency_key" in said else []
    return keys + ([f"end {said['token']}"] if said["type"] in TERMINAL else [])


def without_key(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "idempotency_key"}


def ids_of(work: list[dict[str, Any]]) -> list[uuid.UUID]:
    return [uuid.UUID(one["lease"]["id"]) for one in work]
