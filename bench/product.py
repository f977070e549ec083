"""The product, started for real on a fresh data folder, and the doors to set it up through."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from app.embedded import DataFolder
from bench import plans
from bench.callers import NextCaller, Tally, read
from bench.database import throw_away_folder
from bench.load import Login
from bench.processes import ROOT, BenchFailed, Running, free_port, start, wait_until
from bench.wire import Connection

# Rate limits protect the product from its callers; here they would be all that is measured.
SETTINGS = {"TASKYARD_RATE_LIMITS": "false", "TASKYARD_LOG_LEVEL": "warning"}
READY = "Taskyard is ready at"
OWNER = "bench@example.org"


class Product:
    def __init__(self, data: Path, port: int, environ: Mapping[str, str], up: Running) -> None:
        self.port = port
        self.up = up
        self._environ = environ
        self._folder = DataFolder(data)
        self._token = ""

    @property
    def database_url(self) -> str:
        instance = self._folder.running()
        if instance is None:
            raise BenchFailed(f"{self._folder.path} names no running instance")
        return instance.database_url

    @property
    def admin_url(self) -> str:
        """A superuser's: to fill tables without paying for every foreign key."""
        return self.database_url.replace("taskyard@/", "postgres@/")

    def sign_in(self) -> None:
        self.command("user", "create", OWNER, "--role", "admin")
        self._token = self.command("token", "create", OWNER).strip().splitlines()[-1]

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [*taskyard(), *words],
            env=dict(self._environ),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise BenchFailed(f"taskyard {' '.join(words)} failed: {done.stderr.strip()[-600:]}")
        return done.stdout

    def ask(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(
                method,
                path,
                json.dumps(body) if body is not None else None,
                {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise BenchFailed(
                f"{method} {path} was answered {answer.status}: "
                + said[:600].decode(errors="replace")
            )
        return json.loads(said) if said else None

    def import_plan(self, plan: Mapping[str, object]) -> str:
        made: dict[str, Any] = self.ask("POST", "/api/plans", plan)
        identity = str(made["id"])

        def broken_down() -> bool:
            nonlocal made
            status = made["decomposition_status"]
            if status in ("failed", "needs_review"):
                raise BenchFailed(f"the plan was not accepted: {made.get('warnings')}")
            if status != "done":
                made = self.ask("GET", f"/api/plans/{identity}")
            return bool(status == "done")

        wait_until(broken_down, self.up, 60)
        return identity

    def execute(self, plan: str, times: int, *, priority: int | None = None) -> list[str]:
        body: dict[str, object] = {
            "plan_id": plan,
            "start": True,
            "ordering": "free",
            "threshold": 0,
        }
        if priority is not None:
            body["priority"] = priority
        begun = [self.ask("POST", "/api/executions", body) for _ in range(times)]
        for execution in begun:
            if execution["status"] not in ("queued", "running"):
                raise BenchFailed(
                    f"an execution is {execution['status']}: {execution.get('status_reason')}"
                )
        return [str(execution["id"]) for execution in begun]

    def register(self, actions: Iterable[Sequence[str]], *, at_once: int = 1) -> list[Login]:
        """One agent for each given list of actions."""
        logins = []
        for place, can in enumerate(actions):
            made = self.ask(
                "POST",
                "/api/agents",
                {
                    "name": f"bench {can[0]} {place}",
                    "capabilities": [{"action": action} for action in can],
                    "max_concurrent": at_once,
                },
            )
            logins.append(Login(str(made["id"]), str(made["api_key"])))
        return logins


def record_answer(product: Product) -> bytes:
    """A real answer to a report that is handed the next job, as the bare view shall give it."""
    action = "bench-recorded"
    plan = product.import_plan(plans.independent("recorded", [action], 3))
    product.execute(plan, 1)
    [agent] = product.register([[action]])
    connection = Connection(product.port)

    def exchange(request: bytes) -> bytes:
        connection.send(request)
        while (answer := connection.receive()) is None:
            pass
        status, body = answer
        if status >= 300 or not read(body):
            raise BenchFailed(f"no job was handed out: {status} {body[:400].decode()}")
        return body

    try:
        caller = NextCaller(Tally(since=0.0, until=0.0), agent.id, agent.key)
        then = caller.answered(200, exchange(caller.begin()[0]))
        assert then is not None
        return exchange(then[0])
    finally:
        connection.close()


@contextmanager
def running_product(port: int | None = None) -> Iterator[Product]:
    with ExitStack() as stack:
        folder = throw_away_folder(stack)
        data = folder / "data"
        port = port or free_port()
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TASKYARD_", "PLANEXE_"))
            and name not in ("DATABASE_URL", "REDIS_URL", "SENTRY_DSN", "WEB_CONCURRENCY")
        }
        environ |= {**SETTINGS, "TASKYARD_DATA": str(data), "PYTHONUNBUFFERED": "1"}
        command = [*taskyard(), "up", "--data", str(data), "--port", str(port)]
        up = start("taskyard", command, folder, environ=environ, patience=40)
        stack.callback(up.end)
        wait_until(lambda: READY in up.log.read_text(errors="replace"), up, 90)
        product = Product(data, port, environ, up)
        product.sign_in()
        yield product


def taskyard() -> list[str]:
    return [sys.executable, "-c", "from app.cli import main; main()"]
