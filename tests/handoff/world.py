"""The world of the stateful test: who is in it, what was handed out, what was sent before."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from flask import Flask
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from werkzeug.test import TestResponse

from app.db import Database
from tests.fresh import Key, People
from tests.handoff.runs import make_run
from tests.invariants import Watch
from tests.moments import Moment

# What is done in a step a seeded dice throws: hypothesis by itself would choose the simplest again
# and again. It finds the shortest row of steps that breaks a promise.
SEEDS = st.integers(0, 2**64 - 1)
MOST_JOBS = 6


@dataclass
class World:
    """What all examples share: the app, its database, the people."""

    app: Flask
    database: Database
    people: People
    owner: Key
    operator: Key
    admin: Key
    stranger: Key
    steps: int = 0
    examples: int = 0


@dataclass
class Hand:
    """An agent, as its author knows it."""

    key: Key
    lanes: list[str]
    retired: bool = False

    @property
    def id(self) -> uuid.UUID:
        return self.key.id


@dataclass(frozen=True)
class Piece:
    """A piece of work that was handed to somebody once; its token may be long dead."""

    hand: int
    execution: str
    job: str
    lease: uuid.UUID
    token: str


def any_plan(dice: Random) -> dict[str, Any]:
    """A small graph of jobs of every kind, and the execution around it."""
    jobs: dict[str, dict[str, Any]] = {}
    needs: dict[str, list[str]] = {}
    for place in range(dice.randint(1, MOST_JOBS)):
        code = f"j{place}"
        needs[code] = dice.sample(list(jobs), k=min(len(jobs), dice.randrange(3)))
        jobs[code] = {
            "lane": dice.choice(("a", "a", "a", "b", "b", "human")),
            "approval": dice.choice(("none", "none", "none", "none", "before", "after")),
            "optional": dice.random() < 0.2,
            "on_exhausted": dice.choice(("escalate", "fail")),
            "max_attempts": dice.randint(1, 3),
            "weight": dice.choice((1.0, 2.5)),
        }
    return {
        "jobs": jobs,
        "needs": needs,
        "start": dice.random() < 0.9,
        "budget": dice.choice((None, None, None, 100)),
        "deadline": dice.choice((None, None, None, 2000)),
    }


class Stage(RuleBasedStateMachine):
    """What every rule needs: people, agents, runs; and the promises, checked after each step."""

    world: ClassVar[World]
    crew: ClassVar = (
        (1, "a", "external"),
        (3, "ab", "external"),
        (2, "b", "builtin"),
        (2, "a", "human"),
    )

    def __init__(self) -> None:
        super().__init__()
        world = self.world
        world.examples += 1
        world.database.shift *= 0
        # Old examples lie in other lanes, and are over.
        self.mark = uuid.uuid4().hex[:10]
        self.hands: list[Hand] = []
        self.runs: list[uuid.UUID] = []
        self.pieces: list[Piece] = []
        self.sent: list[tuple[Any, ...]] = []
        self.watch = Watch(world.database, [])
        self.seen: Moment | None = None
        self.unchanged = False  # the step that was just taken must have changed nothing
        self.sound = True
        self.thrown: Counter[int] = Counter()

    @initialize(seed=SEEDS)
    def begin(self, seed: int) -> None:
        self.seed = seed
        dice = self.dice(seed)
        for most, lanes, kind in self.crew:
            self.hire(most, lanes, kind)
        for _ in range(2):
            self.make(any_plan(dice))

    def dice(self, seed: int) -> Random:
        """A seed that comes again throws something else, and the same in a shorter row of steps."""
        self.thrown[seed] += 1
        return Random(f"{self.seed} {seed} {self.thrown[seed]}")

    def hire(self, most: int, lanes: str, kind: str) -> None:
        names = [self.lane(one) for one in lanes]
        key = self.world.people.agent(
            kind=kind,
            max_concurrent=most,
            capabilities=[{"action": name} for name in names],
        )
        self.hands.append(Hand(key, [*names, "human"] if kind == "human" else names))

    def make(self, plan: dict[str, Any]) -> None:
        jobs = {
            code: {
                **job,
                "lane": self.lane(job["lane"]),
                "action": self.lane("a" if job["lane"] == "human" else job["lane"]),
            }
            for code, job in plan["jobs"].items()
        }
        more: dict[str, Any] = {"budget_tokens": plan["budget"]}
        if plan["deadline"] is not None:
            with self.world.database.transaction() as tx:
                more["deadline_at"] = tx.now + dt.timedelta(seconds=plan["deadline"])
            more["timeout_seconds"] = plan["deadline"]
        made = make_run(
            self.world.database,
            self.world.owner.id,
            plan["needs"],
            start=plan["start"],
            execution=more,
            **jobs,
        )
        self.runs.append(made.id)
        self.watch.executions = self.runs

    def lane(self, name: str) -> str:
        """Each example has lanes of its own, but for the people's."""
        return name if name == "human" else f"{name}-{self.mark}"

    def call(self, key: Key, method: str, path: str, body: Any = None) -> TestResponse:
        """One request. Whatever is refused is refused in words, and changes nothing."""
        self.sound = False
        answer = key.call(method, path, body)
        said = f"{method} {path} {body} was answered {answer.status_code} {answer.text}"
        note(said)
        assert answer.status_code < 500, said
        if answer.status_code >= 400:
            assert answer.mimetype == "application/problem+json", said
            assert {"title", "status", "detail"} <= answer.json.keys(), said
            self.unchanged = True
        return answer

    @invariant()
    def promises_hold(self) -> None:
        self.world.steps += 1
        self.look_again()

    def look_again(self) -> None:
        before, self.sound = self.seen, False
        self.seen = now = self.watch.check()
        if self.unchanged and before is not None:
            for name in ("executions", "jobs", "leases", "checkpoints"):
                was, is_now = getattr(before, name), getattr(now, name)
                changed = [(was.get(one), is_now.get(one)) for one in is_now]
                differing = [pair for pair in changed if pair[0] != pair[1]]
                assert not differing, f"what must change nothing changed {differing}"
        self.unchanged = False
        self.sound = True

    @property
    def now(self) -> Moment:
        assert self.seen is not None
        return self.seen

    def live_of(self, hand: Hand) -> list[Any]:
        return [
            lease
            for lease in self.now.leases.values()
            if lease.agent_id == hand.id and lease.ended_at is None
        ]

    def adopt(self, hand: Hand, work: list[dict[str, Any]]) -> list[uuid.UUID]:
        """Takes what was handed out; every input is what its prerequisite put out."""
        for one in work:
            lease = one["lease"]
            self.pieces.append(
                Piece(
                    self.hands.index(hand),
                    one["execution_id"],
                    one["job"]["id"],
                    uuid.UUID(lease["id"]),
                    lease["token"],
                )
            )
            with self.world.database.transaction() as tx:
                rows = tx.execute(INPUTS, {"job": one["job"]["id"]}).fetchall()
            assert one["job"]["inputs"] == {row["code"]: row["result"] for row in rows}
        return [uuid.UUID(one["lease"]["id"]) for one in work]

    def teardown(self) -> None:
        if self.sound and self.seen is not None:
            self.bring_to_an_end()

    def bring_to_an_end(self) -> None:
        raise NotImplementedError


INPUTS = """
SELECT p.code, p.result FROM job_dependencies d JOIN jobs p ON p.id = d.prerequisite_id
WHERE d.job_id = %(job)s
"""
