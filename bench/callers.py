"""Simulated agents: each a small state machine that is handed an answer and says what it sends."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import orjson

from bench.wire import head, message

OUTPUT = b'"output":{"summary":"Looked it up and wrote it down.","items":3},"message":"done"}'
LOOK_AGAIN = 0.002


@dataclass(frozen=True, slots=True)
class Held:
    execution: bytes
    job: bytes
    token: bytes


@dataclass(slots=True)
class Tally:
    """What a run saw. Only what fell between `since` and `until` counts towards `jobs`; all that
    was acknowledged is kept beside it, to be compared with what is stored."""

    since: float
    until: float
    jobs: int = 0
    acknowledged: int = 0
    last: float = 0.0
    empty: int = 0
    empty_in_a_row: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    first_refusal: str = ""

    def took(self, what: str, began: float, now: float) -> None:
        if self.since <= now <= self.until:
            self.seconds.setdefault(what, []).append(now - began)

    def done(self, jobs: int, now: float) -> None:
        self.empty_in_a_row = 0
        self.acknowledged += jobs
        if self.since <= now <= self.until:
            self.jobs += jobs
            self.last = now

    def nothing(self) -> None:
        self.empty += 1
        self.empty_in_a_row += 1

    def refuse(self, status: int, body: bytes) -> None:
        self.refused[status] = self.refused.get(status, 0) + 1
        if not self.first_refusal:
            self.first_refusal = f"{status} {body[:400].decode(errors='replace')}"


class Caller(Protocol):
    def begin(self) -> tuple[bytes, float]:
        """The first request, and how long to wait before it."""

    def answered(self, status: int, body: bytes) -> tuple[bytes, float] | None:
        """What to send after how many seconds, or None to stop."""

    def sent(self, now: float) -> None:
        """Told when the request leaves, which may be later than when it was made."""


def read(body: bytes) -> list[Held]:
    if not body:
        return []
    work: list[dict[str, Any]] = orjson.loads(body).get("work") or []
    return [
        Held(
            one["execution_id"].encode(), one["job"]["id"].encode(), one["lease"]["token"].encode()
        )
        for one in work
    ]


def completed(held: Held) -> bytes:
    return b'{"type":"completed","job_id":"%b","token":"%b",%b' % (held.job, held.token, OUTPUT)


class Agent:
    """What all of them share: the bytes made once, and the requests."""

    __slots__ = ("_began", "_claim", "_report_head", "_report_tail", "held", "tally")

    def __init__(self, tally: Tally, agent: str, key: str, *, claim: str, report: str = "") -> None:
        self.tally = tally
        self.held: list[Held] = []
        self._began = 0.0
        self._claim = message(head("POST", f"/api/agents/{agent}/work?{claim}", key))
        top = head("POST", f"/api/executions/*/events{report}", key)
        self._report_head, self._report_tail = top.split(b"*")

    def begin(self) -> tuple[bytes, float]:
        self._began = perf_counter()
        return self._claim, 0.0

    def claim_later(self) -> tuple[bytes, float]:
        """Asking again at once would only measure how fast nothing is found."""
        self.tally.nothing()
        self._began = perf_counter() + LOOK_AGAIN
        return self._claim, LOOK_AGAIN

    def sent(self, now: float) -> None:
        """Only a relay needs the moment."""

    def report(self, execution: bytes, body: bytes) -> bytes:
        return b"%b%b%bContent-Length: %d\r\n\r\n%b" % (
            self._report_head,
            execution,
            self._report_tail,
            len(body),
            body,
        )

    def refused(self, status: int, body: bytes) -> tuple[bytes, float]:
        self.tally.refuse(status, body)
        self.held = []
        self._began = perf_counter() + LOOK_AGAIN
        return self._claim, LOOK_AGAIN


class NextCaller(Agent):
    """Reports a job and is handed the next in the same round trip."""

    __slots__ = ()

    def __init__(self, tally: Tally, agent: str, key: str) -> None:
        super().__init__(tally, agent, key, claim="max=1", report="?next=1")

    def answered(self, status: int, body: bytes) -> tuple[bytes, float] | None:
        now = perf_counter()
        if status >= 400:
            return self.refused(status, body)
        if self.held:
            self.tally.done(1, now)
            self.tally.took("handoff", self._began, now)
        self.held = read(body)
        if not self.held:
            return self.claim_later()
        self._began = now
        return self.report(self.held[0].execution, completed(self.held[0])), 0.0


class TurnCaller(Agent):
    """Claims up to `batch` jobs in one call, then reports them in another: a call an execution,
    since that is where reports go."""

    __slots__ = ("_batch", "_reports")

    def __init__(self, tally: Tally, agent: str, key: str, batch: int) -> None:
        super().__init__(tally, agent, key, claim=f"max={batch}")
        self._batch = batch
        self._reports: list[tuple[int, bytes]] = []

    def answered(self, status: int, body: bytes) -> tuple[bytes, float] | None:
        now = perf_counter()
        if status >= 400:
            self._reports = []
            return self.refused(status, body)
        if self.held:
            return self._reported(now)
        self.held = read(body)
        if not self.held:
            return self.claim_later()
        self.tally.took("claim", self._began, now)
        self._reports = list(self._bundle())
        return self._reports[-1][1], 0.0

    def _reported(self, now: float) -> tuple[bytes, float]:
        jobs, _ = self._reports.pop()
        self.tally.done(jobs, now)
        if self._reports:
            return self._reports[-1][1], 0.0
        self.held = []
        self.tally.took("handoff", self._began, now)
        self._began = now
        return self._claim, 0.0

    def _bundle(self) -> Iterator[tuple[int, bytes]]:
        if self._batch == 1:
            yield 1, self.report(self.held[0].execution, completed(self.held[0]))
            return
        by_execution: dict[bytes, list[bytes]] = {}
        for held in self.held:
            by_execution.setdefault(held.execution, []).append(completed(held))
        for execution, events in by_execution.items():
            yield len(events), self.report(execution, b'{"events":[%b]}' % b",".join(events))


class PacedCaller(Agent):
    """One request at a time with a pause between: what a round trip takes when little is going on,
    and processors have gone to sleep in the meantime."""

    __slots__ = ("_pause",)

    def __init__(self, tally: Tally, agent: str, key: str, pause: float) -> None:
        super().__init__(tally, agent, key, claim="max=1")
        self._pause = pause

    def sent(self, now: float) -> None:
        self._began = now

    def answered(self, status: int, body: bytes) -> tuple[bytes, float] | None:
        now = perf_counter()
        if status >= 400:
            return self.refused(status, body)
        self.tally.done(len(read(body)), now)
        self.tally.took("trip", self._began, now)
        return self._claim, self._pause


@dataclass(slots=True)
class Relay:
    """What the two agents of a chain know of each other: when the last step was reported."""

    reported_at: float = 0.0


class RelayCaller(Agent):
    """Waits for the step that its partner's completion frees, does it, and waits again.

    It thinks before it reports, so that the partner's poll is surely waiting by then.
    """

    __slots__ = ("_relay", "_think")

    def __init__(self, tally: Tally, agent: str, key: str, relay: Relay, think: float) -> None:
        super().__init__(tally, agent, key, claim="max=1&wait=30")
        self._relay = relay
        self._think = think

    def answered(self, status: int, body: bytes) -> tuple[bytes, float] | None:
        now = perf_counter()
        if status >= 400:
            return self.refused(status, body)
        if self.held:
            self.held = []
            self.tally.done(1, now)
            return self._claim, 0.0
        self.held = read(body)
        if not self.held:
            return self.claim_later()
        if self._relay.reported_at:
            self.tally.took("successor", self._relay.reported_at, now)
        return self.report(self.held[0].execution, completed(self.held[0])), self._think

    def sent(self, now: float) -> None:
        if self.held:
            self._relay.reported_at = now
