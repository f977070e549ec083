"""A Taskyard that really runs, and calls of it: what samples and documents are tried on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.conftest import make_test_folder
from tests.shell.running import ROOT, TASKYARD, Running, until

READY = "Taskyard is ready at "
ENDED = ("completed", "failed", "cancelled")
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Yard:
    """Where it runs, and the token of an admin."""

    url: str
    data: Path
    token: str

    def call(self, method: str, path: str, json: Any = None, key: str = "", **query: Any) -> Any:
        headers = {"Authorization": f"Bearer {key or self.token}"}
        address = f"{self.url}/api/{path}"
        with httpx.Client(timeout=30) as client:
            answer = client.request(method, address, json=json, params=query, headers=headers)
        assert answer.status_code < 400, answer.text
        return answer.json() if answer.content else None

    def start(self, *jobs: dict[str, Any]) -> str:
        """An execution of one phase of these jobs; its id."""
        plan = {"title": f"Plan {uuid4().hex[:8]}", "goal": "A goal.", "phases": []}
        phase = {"title": "Phase", "tasks": [{"title": job["action"]} | job for job in jobs]}
        plan["phases"] = [phase]
        made = self.call("POST", "plans", plan)
        started = self.call("POST", "executions", {"plan_id": made["id"], "start": True})
        return str(started["id"])

    def register(self, *actions: str, at_once: int = 1) -> dict[str, str]:
        """A new agent; the environment that its program wants."""
        said = {
            "name": f"agent {uuid4().hex[:8]}",
            "capabilities": [{"action": action} for action in actions],
            "max_concurrent": at_once,
        }
        agent = self.call("POST", "agents", said)
        return {"YARD_URL": self.url, "AGENT_ID": agent["id"], "AGENT_KEY": agent["api_key"]}

    @contextmanager
    def hire(self, command: Sequence[str], *actions: str, at_once: int = 1) -> Iterator[Running]:
        """An agent at work; afterwards it is told to end, and retired."""
        environ = self.register(*actions, at_once=at_once)
        with Running(command, self.data.parent, **environ) as agent:
            yield agent
            assert agent.end() == 0, agent.said
        # Its polls may still wait here, and would take the jobs of the next test.
        self.call("DELETE", f"agents/{environ['AGENT_ID']}")

    def read(self, execution: str) -> Any:
        return self.call("GET", f"executions/{execution}")

    def jobs(self, execution: str) -> list[Any]:
        found: list[Any] = self.call("GET", f"executions/{execution}/jobs", limit=500)["items"]
        return found

    def events(self, execution: str, *types: str) -> list[Any]:
        wanted = {"limit": 500} | ({"type": list(types)} if types else {})
        found: list[Any] = self.call("GET", f"executions/{execution}/events", **wanted)["items"]
        return found

    def wait_for_end(self, execution: str, seconds: float = 60) -> Any:
        until(lambda: self.read(execution)["status"] in ENDED, "the execution ended", seconds)
        return self.read(execution)


@contextmanager
def open_yard() -> Iterator[Yard]:
    with ExitStack() as stack:
        data = make_test_folder(stack) / "data"
        running = stack.enter_context(
            Running((*TASKYARD, "up", "--data", str(data), "--port", "0"), data.parent)
        )
        stack.callback(lambda: running.process.poll() is None and running.end(seconds=40))
        url = running.wait_for(READY, 60).removeprefix(READY)
        run(data, "user", "create", "admin@example.org", "--role", "admin", "--no-password")
        yield Yard(url, data, run(data, "token", "create", "admin@example.org").strip())


def run(data: Path, *words: str) -> str:
    """What a `taskyard` command says."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TASKYARD_DATA": str(data)}
    done = subprocess.run(
        [*TASKYARD, *words], env=environ, cwd=data.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sample(name: str, *options: str) -> tuple[str, ...]:
    """The command of a sample agent."""
    return (sys.executable, str(EXAMPLES / name), *options)
