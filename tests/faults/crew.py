"""Agents that follow the guide to the letter: the same call again until it is answered.

They write down what they were told, and whatever the guide does not allow for.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.fresh import Key
from tests.shell.running import until

PATIENCE: Final = 30  # seconds without any answer after which a call counts as hung
PAUSES: Final = (0.02, 0.3)


@dataclass
class Seen:
    """What the whole crew saw."""

    acknowledged: dict[str, str] = field(default_factory=dict)  # job, the token it was done under
    outputs: dict[str, str] = field(default_factory=dict)  # job, what was reported of it
    claims: int = 0
    repeated: int = 0  # the server had done it, and only the answer was lost
    afresh: int = 0  # the server knew nothing of it
    same_work: int = 0  # a poll said again brought what its lost answer had brought
    lost: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    took: list[tuple[float, float, int]] = field(default_factory=list)  # when, how long, status
    hasty: list[str] = field(default_factory=list)  # 503 without a word of when to come again


class Agent:
    """One agent in a thread of its own."""

    def __init__(self, crew: Crew, key: Key, wait: float) -> None:
        self.crew = crew
        self.key = key
        self.wait = wait
        self.thread = threading.Thread(target=self._live, name=f"agent {key.id}", daemon=True)
        self._lots = random.Random(str(key.id))

    def _live(self) -> None:
        with httpx.Client(timeout=PATIENCE, headers=self.key.headers) as client:
            work: list[Any] = []
            while not self.crew.ending.is_set():
                work = self._do(client, work[0]) if work else self._ask(client)

    def _ask(self, client: httpx.Client) -> list[Any]:
        claim = uuid.uuid4().hex
        path = f"/api/agents/{self.key.id}/work?wait={self.wait:g}&claim={claim}"
        tries, answer = self._call(client, "POST", path, None)
        if answer is None:
            return []
        if answer.status_code == 204:
            if not self.wait:
                self.crew.ending.wait(self._lots.uniform(*PAUSES))
            return []
        if answer.status_code != 200:
            return self._object(answer)
        work: list[Any] = answer.json()["work"]
        with self.crew.lock:
            self.crew.seen.claims += 1
            self.crew.seen.same_work += tries > 1 and len(work) > 0
        return work

    def _do(self, client: httpx.Client, piece: Any) -> list[Any]:
        """Start it now and then, complete it, and take what comes next, or leave that to others."""
        job, token = piece["job"]["id"], piece["lease"]["token"]
        path = f"/api/executions/{piece['execution_id']}/events"
        if self._lots.random() < 0.3:
            said = {"type": "started", "job_id": job, "token": token, "idempotency_key": token}
            _, answer = self._call(client, "POST", path, said)
            if answer is not None and answer.status_code != 201:
                return self._object(answer)
        output = uuid.uuid4().hex
        done = {"type": "completed", "job_id": job, "token": token, "output": output}
        if self._lots.random() < 0.5:
            path += "?next=1"
        tries, answer = self._call(client, "POST", path, done)
        if answer is None:
            return []
        if answer.status_code != 201:
            return self._object(answer)
        told = answer.json()
        with self.crew.lock:
            seen = self.crew.seen
            if job in seen.acknowledged:
                seen.wrong.append(f"job {job} was completed twice")
            seen.acknowledged[job] = token
            seen.outputs[job] = output
            if tries > 1:
                seen.repeated += bool(told.get("repeated"))
                seen.afresh += not told.get("repeated")
        work: list[Any] = told.get("work", [])
        return work

    def _call(
        self, client: httpx.Client, method: str, path: str, body: Any
    ) -> tuple[int, httpx.Response | None]:
        """The same call until it is answered; how often it was sent."""
        tries = 0
        while True:
            tries += 1
            began = time.monotonic()
            try:
                answer = client.request(method, self.crew.url + path, json=body)
            except httpx.TransportError as fault:
                self._note(began, 0, repr(fault))
            else:
                self._note(began, answer.status_code, answer.text)
                if answer.status_code == 503 and not answer.headers.get("Retry-After"):
                    self.crew.seen.hasty.append(answer.text)
                if answer.status_code not in (429, 503):
                    return tries, answer
            if self.crew.ending.is_set():
                return tries, None
            self.crew.ending.wait(self._lots.uniform(*PAUSES))

    def _note(self, began: float, status: int, said: str) -> None:
        took = time.monotonic() - began
        with self.crew.lock:
            seen = self.crew.seen
            seen.codes[status] += 1
            seen.lost += status == 0
            seen.took.append((began, took, status))
            if status == 500 or took >= PATIENCE:
                seen.wrong.append(f"{status} after {took:.1f} s: {said}")

    def _object(self, answer: httpx.Response) -> list[Any]:
        """No fault that is injected here justifies such an answer to an agent that held its job."""
        with self.crew.lock:
            self.crew.seen.wrong.append(f"{answer.status_code}: {answer.text}")
        return []


class Crew:
    """Several agents at work, and what they saw."""

    def __init__(self, url: str, keys: list[Key], wait: float = 2) -> None:
        self.url = url
        self.seen = Seen()
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self._agents = [Agent(self, key, wait) for key in keys]

    @contextmanager
    def at_work(self) -> Iterator[Crew]:
        for agent in self._agents:
            agent.thread.start()
        try:
            yield self
        finally:
            self.ending.set()
            for agent in self._agents:
                agent.thread.join(PATIENCE + 5)
        assert not any(agent.thread.is_alive() for agent in self._agents)
        assert self.seen.wrong == []
        assert self.seen.hasty == [], "a 503 says when to come again"

    @property
    def done(self) -> int:
        return len(self.seen.acknowledged)

    def wait_for_more(self, jobs: int, seconds: float = 30) -> None:
        """Until so many more were acknowledged."""
        before = self.done
        until(lambda: self.done >= before + jobs, f"{jobs} more jobs are done", seconds)

    def answers_since(self, moment: float) -> list[tuple[float, int]]:
        """How long each call took that began since then, and its status."""
        with self.lock:
            return [(took, status) for began, took, status in self.seen.took if began >= moment]


def call(key: Key, url: str, method: str, path: str, body: Any = None) -> httpx.Response:
    return httpx.request(method, f"{url}/api/{path}", json=body, headers=key.headers, timeout=40)


def start_run(key: Key, url: str, jobs: int, action: str = "write", **each: Any) -> str:
    """An execution of so many jobs, in chains of four that are done side by side; its id."""
    codes = [f"1.1.{place}" for place in range(1, jobs + 1)]
    subtasks = [
        {
            "code": code,
            "title": f"Step {code}",
            "action": action,
            "prerequisites": [codes[place - 1]] if place % 4 else [],
            **each,
        }
        for place, code in enumerate(codes)
    ]
    task = {"code": "1.1", "title": "Task", "subtasks": subtasks}
    plan = {
        "title": f"Plan {uuid.uuid4().hex[:8]}",
        "goal": "To be carried out whatever happens.",
        "phases": [{"code": "1", "title": "Phase", "tasks": [task]}],
    }
    made = call(key, url, "POST", "plans", plan)
    assert made.status_code == 202, made.text
    said = {"plan_id": made.json()["id"], "start": True, "ordering": "free"}
    started = call(key, url, "POST", "executions", said)
    assert started.status_code == 201, started.text
    return str(started.json()["id"])


def status_of(key: Key, url: str, execution: str) -> str:
    """As the API tells it; nothing while the API cannot be reached."""
    with suppress(httpx.TransportError):
        answer = call(key, url, "GET", f"executions/{execution}")
        if answer.status_code == 200:
            return str(answer.json()["status"])
    return ""


def all_complete(key: Key, url: str, executions: list[str]) -> Callable[[], bool]:
    return lambda: all(status_of(key, url, one) == "completed" for one in executions)
