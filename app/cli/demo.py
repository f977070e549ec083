"""`taskyard demo`: everything of `up`, and a plan that two sample agents carry out meanwhile."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from app.cli import staging
from app.cli.calling import Api
from app.cli.finding import data_option
from app.cli.progress import View, open_view
from app.cli.supervisor import Child
from app.cli.up import Yard
from app.errors import Unavailable
from app.settings import surroundings

LOOK_EVERY: Final = 0.4
LAST_WORDS: Final = 15.0  # for agents, to hand back what they hold while there is a web to take it
STILL: Final = 20.0  # nobody works and nothing is on offer for so long: a person is needed
SILENT: Final = 180.0
MOST_TOLD: Final = 10


@click.command()
@data_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port to listen on (else PORT, else 8000); 0 takes any that is free.",
)
@click.option("--once", is_flag=True, help="End when the plan is carried out, on a terminal too.")
def demo(data: Path | None, port: int | None, once: bool) -> None:
    """Start everything, and let two sample agents carry out a sample plan.

    On a terminal it stays up until Ctrl-C; elsewhere it ends when the plan is carried out. The data
    stays for `taskyard up`.
    """
    raise SystemExit(Demo(data, port, once or not sys.stdout.isatty()).run())


class Demo(Yard):
    """A Yard with a play in it. All it knows of the play it is told over HTTP."""

    def __init__(self, data: Path | None, port: int | None, once: bool) -> None:
        super().__init__(data, port)
        self.plain = True
        self.once = once
        self.named = data
        self.code = 0
        self.agents: list[Child] = []
        self.api: Api | None = None
        self.view: View | None = None
        self.execution: dict[str, Any] | None = None
        self.over = False
        self.look_at = 0.0
        self.moved_at = 0.0

    def run(self) -> int:
        super().run()
        return self.code

    def _turn(self) -> None:
        super()._turn()
        if not self.ready or self.over or time.monotonic() < self.look_at:
            return
        self.look_at = time.monotonic() + LOOK_EVERY
        try:
            if self.execution is None:
                self._begin()
            else:
                self._look()
        except Unavailable as fault:
            # Something was killed under it: what supervises it starts it again.
            self._tell(f"{fault.detail} Trying again.")
            self.look_at = time.monotonic() + 1

    def _begin(self) -> None:
        if self.api is None:
            self.api = Api(self.url, staging.make_token(self.settings.data))
        plan = staging.bring_plan(self.api)
        players = staging.engage(self.api, plan)
        execution, unfinished = staging.start_or_take_up(self.api, plan)
        self._tell(f"  The API, to read and to try:  {self.url}/api/docs")
        self._tell(f"  A token of your own for it:   {self._token_command()}")
        told = execution["progress"]
        if unfinished:
            done = f"{told['completed']} of {told['total']} jobs are done"
            self._tell(f"Takes up “{execution['name']}” where it was left: {done}.")
        else:
            self._tell(f"Carries out “{execution['name']}”: {told['total']} jobs.")
        self.view = open_view(self.api, execution)
        for player in players:
            child = Child(player.name, player.command, player.environ)
            self.agents.append(child)
            self.supervisor.start(child)
        self._record()
        self.execution = execution
        self.moved_at = time.monotonic()

    def _look(self) -> None:
        assert self.api is not None
        assert self.view is not None
        assert self.execution is not None
        before = self.execution
        execution = self.api.get(f"executions/{before['id']}")
        self.execution = execution
        if execution["last_event"] > before["last_event"]:
            self.moved_at = time.monotonic()
        self.view.look(execution)
        if execution["status"] in ("completed", "failed", "cancelled"):
            self._finish(execution)
        elif time.monotonic() - self.moved_at > (STILL if idle(execution) else SILENT):
            self._give_up(execution)

    def _finish(self, execution: dict[str, Any]) -> None:
        summary = execution["summary"]
        if execution["status"] == "completed":
            lines = [
                f"The plan is carried out: {execution['progress']['completed']} jobs"
                f" in {summary['lasted_seconds'] or 0:.0f} s, {summary['attempts']} attempts."
            ]
        else:
            self.code = 1
            lines = [f"The execution {execution['status']}: {execution['status_reason']}"]
        for job in summary["not_done"][:MOST_TOLD]:
            lines.append(f"  {job['code']} {job['title']}: {job['status']}. {job['reason']}")
        self._close([*lines, f"All of it: {self.url}/api/executions/{execution['id']}"])

    def _give_up(self, execution: dict[str, Any]) -> None:
        self.code = 1
        waits = [f"  A person must decide: {one['title']}" for one in execution["blockers"]]
        said = f"Nothing moves any more: {execution['status_reason']}"
        self._close([said, *waits[:MOST_TOLD]])

    def _close(self, lines: list[str]) -> None:
        """The bars stand still, and the last words stand below them."""
        self._leave_view()
        self.over = True
        for line in lines:
            self._tell(line)
        if self.once:
            self.supervisor.told = 1
        else:
            self._tell("Everything stays up until Ctrl-C, and its data after that.")

    def _leave_view(self) -> None:
        if self.view is not None:
            self.view.close()
            self.view = None

    def _end(self) -> None:
        self._leave_view()
        self._send_agents_home()
        super()._end()

    def _send_agents_home(self) -> None:
        """Before the web goes: they have work to hand back."""
        asked = self.supervisor.told
        for child in self.agents:
            if child.running and child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + LAST_WORDS
        while any(child.running for child in self.agents) and self.supervisor.told <= asked + 1:
            if time.monotonic() > deadline:
                break
            self.supervisor.turn(0.1)

    def _environ(self) -> dict[str, str]:
        # Who watches bars wants to hear of trouble alone, unless they say otherwise.
        level = surroundings().get("TASKYARD_LOG_LEVEL", "warning")
        return {**super()._environ(), "TASKYARD_LOG_LEVEL": level}

    def _tell(self, line: str) -> None:
        if self.view is None:
            super()._tell(line)
        else:
            self.view.say(line)

    def _token_command(self) -> str:
        program = sys.argv[0] if Path(sys.argv[0]).name == "taskyard" else "taskyard"
        data = [] if self.named is None else ["--data", str(self.named)]
        return shlex.join([program, "token", "create", staging.EMAIL, *data])


def idle(execution: dict[str, Any]) -> bool:
    """Whether nobody works and nothing is on offer."""
    counts = execution["counts"]
    return not any(counts.get(status) for status in ("ready", "leased", "running"))
