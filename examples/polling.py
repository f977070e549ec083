"""The loop of an agent, done right: one file, nothing but the standard library. Copy it.

It waits for work in long polls, keeps leases alive while your code works, repeats what got lost on
the way without doing it twice, hears when to pause and when to drop a job, takes up after a restart
what it held before, and hands back what it holds when it is told to end.

    from polling import Work, main

    def greet(work: Work) -> dict[str, str]:
        return {"said": f"Hello {work.params.get('name', 'world')}"}

    if __name__ == "__main__":
        main(__doc__, {"greet": greet})
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from typing import Any

Answer = dict[str, Any]
Do = Callable[["Work"], Any]

POLL_SECONDS = 30
LAST_SECONDS = 10  # for handing back what is held, once told to end


class Dropped(Exception):
    """The job is not ours any more, or we were told to end: stop working on it."""


class Failed(Exception):
    """Raise it where an attempt fails. Only `transient`, `timeout` and `quota` are tried again."""

    def __init__(self, message: str, error_class: str = "transient") -> None:
        super().__init__(message)
        self.error_class = error_class


class Blocked(Exception):
    """Raise it where something outside must happen first; no attempt is used."""

    def __init__(self, on: str, recheck_after: int, max_wait: int = 48 * 3600) -> None:
        super().__init__(on)
        self.fields = {"on": on, "recheck_after": recheck_after, "max_wait": max_wait}


class Refused(Exception):
    """The server understood and said no; `status` tells which kind of no."""

    def __init__(self, status: int, problem: Answer) -> None:
        super().__init__(problem.get("detail") or f"The server answered {status}.")
        self.status = status


class Server:
    """Calls with the agent's key. What may be tried again is tried again, with jitter."""

    def __init__(self, url: str, key: str, lease_seconds: int) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self.lease_seconds = lease_seconds  # a job whose agent is silent so long goes to another
        self.ending = threading.Event()

    def call(self, method: str, path: str, body: Answer | None = None) -> Answer:
        """The answer, `{}` for none. Every call of an agent may be repeated: a poll carries its
        claim id and a report its key, so the second time has no second effect."""
        tries = 0
        while True:
            try:
                return self._call_once(method, path, body)
            except urllib.error.HTTPError as refusal:
                status, text, told = refusal.code, refusal.read(), refusal.headers["Retry-After"]
                if status != 429 and status < 500:
                    raise Refused(status, read_problem(text)) from None
                why: object = status
            except (OSError, http.client.HTTPException) as fault:
                told, why = None, fault
            tries += 1
            if self.ending.is_set() and tries > 2:
                raise Dropped(f"cannot reach {self.url}: {why}")
            # The wait doubles and is drawn by lot, or all agents would come back at once.
            pause = max(float(told or 0), random.uniform(0.1, min(30.0, 0.4 * 2 ** min(tries, 8))))
            say(f"{self.url} does not answer ({why}); again in {pause:.1f} s")
            self.ending.wait(pause)

    def _call_once(self, method: str, path: str, body: Answer | None) -> Answer:
        request = urllib.request.Request(  # noqa: S310 - the address is the user's own
            f"{self.url}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=POLL_SECONDS + 15) as answer:  # noqa: S310
            text = answer.read()
        read: Answer = json.loads(text) if text else {}
        return read


class Work:
    """One job in our hands: what is asked, and what may be said about it."""

    def __init__(self, server: Server, piece: Answer) -> None:
        job = piece["job"]
        self.code: str = job["code"]
        self.title: str = job["title"]
        self.action: str = job["action"]
        self.instructions: str = job["instructions"]
        self.params: dict[str, Any] = job["params"]
        self.inputs: dict[str, Any] = job["inputs"]  # what its prerequisites put out, by code
        self.acceptance: list[str] = job["acceptance"]  # how to tell that it is done
        self.context: dict[str, Any] = piece["context"]  # goal, path, previous, upcoming, answers
        self.attempt: int = piece["lease"]["attempt"]
        self.dropped = False
        self.paused = False
        self._server = server
        self._names = {"job_id": job["id"], "token": piece["lease"]["token"]}
        self._events = f"executions/{piece['execution_id']}/events"

    def progress(self, percent: float, message: str = "") -> None:
        """Says how far it is, then stops here where the job was dropped."""
        self.report("progress", percent=percent, message=message)
        self.rest(0)

    def log(self, message: str) -> None:
        self.report("log", message=message)

    def rest(self, seconds: float) -> None:
        """Sleeps, and for as long as the run is paused; raises Dropped where there is no more to
        do. Call it often in long work."""
        until = time.monotonic() + seconds
        while True:
            if self.dropped or self._server.ending.is_set():
                raise Dropped
            left = until - time.monotonic()
            if left <= 0 and not self.paused:
                return
            self._server.ending.wait(min(max(left, 0.2), 1.0))

    def report(self, kind: str, *, take_next: bool = False, **fields: Any) -> Answer:
        """Sends one event, with a key of its own. The answer may say to pause or to drop it."""
        event = {"type": kind, "idempotency_key": uuid.uuid4().hex, **self._names, **fields}
        query = f"?next=1&lease_seconds={self._server.lease_seconds}" if take_next else ""
        try:
            answer = self._server.call("POST", self._events + query, event)
        except Refused as refusal:
            if refusal.status not in (404, 409):
                raise
            # The lease ran out or the run was cancelled: somebody else decides about it now.
            self.dropped = True
            say(f"{self.code}: {refusal}")
            return {}
        self.dropped = answer["control"] == "cancel"
        self.paused = answer["control"] == "pause"
        return answer


class Agent:
    """Does jobs, several at once: each hand takes one, works on it, and takes the next."""

    def __init__(
        self, server: Server, agent_id: str, actions: Mapping[str, Do], otherwise: Do | None
    ) -> None:
        self.server = server
        self.id = agent_id
        self.actions = actions
        self.otherwise = otherwise
        self.quiet = False
        self.held: set[Work] = set()
        self.fault: Exception | None = None

    def run(self, hands: int) -> int:
        """Works until SIGTERM or Ctrl-C; 1 where the server will not have us."""
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: self.server.ending.set())
        try:
            before = self.server.call("GET", f"agents/{self.id}/leases")["work"]
        except Refused as refusal:
            print(refusal, file=sys.stderr)
            return 1
        if before or not self.quiet:
            say(f"ready; takes up {len(before)} jobs that it held before")
        for number in range(max(hands, len(before))):
            piece = before[number] if number < len(before) else None
            self._begin(self._use_hand, piece, number < hands)
        self._begin(self._keep_alive)
        self.server.ending.wait()
        return self._end()

    def _begin(self, task: Callable[..., None], *facts: Any) -> None:
        # Daemons: one that sits in a long poll must not keep us from ending.
        threading.Thread(target=task, args=facts, daemon=True).start()

    def _use_hand(self, piece: Answer | None, lasting: bool) -> None:
        try:
            while not self.server.ending.is_set() and (piece is not None or lasting):
                piece = self._do(piece) if piece is not None else self._poll()
        except (Refused, Dropped) as refusal:
            if not self.server.ending.is_set():
                self.fault = refusal
                self.server.ending.set()

    def _poll(self) -> Answer | None:
        lease = f"lease_seconds={self.server.lease_seconds}&claim={uuid.uuid4().hex}"
        answer = self.server.call("GET", f"agents/{self.id}/work?wait={POLL_SECONDS}&{lease}")
        if answer.get("work"):
            first: Answer = answer["work"][0]
            return first
        if answer:  # we are paused, or hold as much as we may: waiting would be refused again
            self.server.ending.wait(random.uniform(2, 5))
        return None

    def _do(self, piece: Answer) -> Answer | None:
        """Works on one job and reports how it ended; gives the next one, if there is."""
        work = Work(self.server, piece)
        self.held.add(work)
        try:
            work.report("started")
            kind, fields = self._carry_out(work)
            if work.dropped:
                return None
            answer = work.report(kind, take_next=kind == "completed", **fields)
        finally:
            self.held.discard(work)
        if answer and not self.quiet:
            say(f"{work.code} {work.title}: {kind}")
        following: list[Answer] = answer.get("work") or [None]
        return following[0]

    def _carry_out(self, work: Work) -> tuple[str, Answer]:
        """How it ended: the type of the last report, and what goes with it."""
        try:
            work.rest(0)
            do = self.actions.get(work.action, self.otherwise)
            if do is None:
                raise Failed(f"This agent cannot {work.action}.", "fatal")
            return "completed", {"output": do(work)}
        except Dropped:
            return "released", {"message": "The agent ends."}
        except Blocked as blocked:
            return "blocked", blocked.fields
        except Failed as failed:
            error = {"class": failed.error_class, "message": str(failed)}
        except Exception as fault:  # noqa: BLE001 - a fault of the work ends the attempt, not us
            traceback.print_exc()
            error = {"class": "transient", "message": f"{type(fault).__name__}: {fault}"}
        return "failed", {"error": error}

    def _keep_alive(self) -> None:
        """A heartbeat for each job, three in the time of a lease. It also brings `control`."""
        while not self.server.ending.wait(self.server.lease_seconds / 3):
            for work in list(self.held):
                # What cannot be said now is said by the next report, or by the lease running out.
                with contextlib.suppress(Refused, Dropped):
                    if not work.dropped:
                        work.report("heartbeat")

    def _end(self) -> int:
        """Hands back what is held, and what a poll brought while we were ending."""
        until = time.monotonic() + LAST_SECONDS
        while self.held and time.monotonic() < until:
            time.sleep(0.05)
        if self.fault is not None:
            print(self.fault, file=sys.stderr)
            return 1
        try:
            for piece in self.server.call("GET", f"agents/{self.id}/leases")["work"]:
                Work(self.server, piece).report("released", message="The agent ends.")
        except (Refused, Dropped) as refusal:
            say(f"could not hand back what it held: {refusal}")
        return 0


def main(about: str | None, actions: Mapping[str, Do], otherwise: Do | None = None) -> None:
    """Runs an agent that does these actions, as the environment and the command line say.

    `otherwise` does every other action that the agent was registered for.
    """
    reader = argparse.ArgumentParser(
        description=about,
        epilog="AGENT_ID and AGENT_KEY are the id and the api_key that POST /api/agents answered;"
        " YARD_URL is where Taskyard runs (http://127.0.0.1:8000).",
    )
    reader.add_argument("--hands", type=int, default=1, help="how many jobs at once")
    reader.add_argument("--lease", type=int, default=60, help="seconds that it may be silent")
    reader.add_argument("--quiet", action="store_true", help="say nothing of what goes well")
    reader.add_argument(
        "--capabilities", action="store_true", help="print what to register it with, and end"
    )
    said = reader.parse_args()
    if said.capabilities:
        print(json.dumps([{"action": action} for action in actions]))
        return
    missing = [name for name in ("AGENT_ID", "AGENT_KEY") if not os.environ.get(name)]
    if missing:
        reader.exit(2, f"{' and '.join(missing)} must be set: POST /api/agents makes both.\n")
    url = os.environ.get("YARD_URL", "http://127.0.0.1:8000")
    server = Server(url, os.environ["AGENT_KEY"], said.lease)
    agent = Agent(server, os.environ["AGENT_ID"], actions, otherwise)
    agent.quiet = said.quiet
    sys.exit(agent.run(said.hands))


def read_problem(text: bytes) -> Answer:
    try:
        problem = json.loads(text)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def say(line: str) -> None:
    print(line, flush=True)
