"""An execution's progress as people see it: bars on a terminal, a line a job elsewhere."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from app.cli.calling import Api
from app.variables import printable

# What is worth a line, and the word for it; what agents report in between is not.
TOLD: Final = {
    "job_completed": "done",
    "job_skipped": "skipped",
    "job_failed": "failed",
    "job_cancelled": "cancelled",
    "job_blocked": "blocked",
    "job_escalated": "stuck",
    "job_retrying": "failed, will be tried again",
    "job_released": "handed back",
    "lease_expired": "its agent fell silent",
    "checkpoint_opened": "waits for a person",
    "execution_paused": "paused",
    "execution_resumed": "resumed",
}
DONE: Final = ("completed", "skipped")
BUSY: Final = ("leased", "running")


class View(Protocol):
    """Shows an execution, look by look."""

    def look(self, execution: dict[str, Any]) -> None: ...

    def say(self, line: str) -> None: ...

    def close(self) -> None: ...


def open_view(api: Api, execution: dict[str, Any]) -> View:
    return Bars(api) if sys.stdout.isatty() else Lines(api, execution)


class Lines:
    """A line for each job that ended or stumbled, with how many are done."""

    def __init__(self, api: Api, execution: dict[str, Any]) -> None:
        self._api = api
        self._after: int = execution["last_event"]
        self._done: int = execution["progress"]["completed"]
        self._titles: dict[str, str] = {}

    def look(self, execution: dict[str, Any]) -> None:
        path = f"executions/{execution['id']}/events"
        while self._after < execution["last_event"]:
            page = self._api.get(path, after=self._after, limit=500)
            for event in page["items"]:
                self._tell(execution, event)
            self._after = page["next_after"]

    def _tell(self, execution: dict[str, Any], event: dict[str, Any]) -> None:
        what = TOLD.get(event["type"])
        if what is None:
            return
        self._done += event["data"].get("status") in DONE and event["job_id"] is not None
        subject = execution["name"]
        if event["job_id"] is not None:
            if event["job_id"] not in self._titles:
                jobs = self._api.pages(f"executions/{execution['id']}/jobs", limit=500)
                self._titles = {job["id"]: f"{job['code']} {job['title']}" for job in jobs}
            subject = self._titles.get(event["job_id"], "a job")
        total = execution["progress"]["total"]
        counted = f"{self._done:>{len(str(total))}}/{total}"
        why = f": {event['message']}" if event["message"] and what != "done" else ""
        self.say(f"{counted}  {subject}: {what} ({event['actor']}){why}")

    def say(self, line: str) -> None:
        tell(line)

    def close(self) -> None:
        return


class Bars:
    """A bar for each phase and one for all of it. It is drawn at each look, by nobody else."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._console = Console(highlight=False, markup=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=line(max_width=30)),
            BarColumn(bar_width=20, table_column=line(min_width=20)),
            MofNCompleteColumn(table_column=line(min_width=5, justify="right")),
            # Takes what is left, and is cut: jobs have long names.
            TextColumn(
                "{task.fields[doing]}", markup=False, style="dim", table_column=line(ratio=1)
            ),
            console=self._console,
            auto_refresh=False,
            expand=True,
        )
        self._bars: dict[str, TaskID] = {}
        self._progress.start()

    def look(self, execution: dict[str, Any]) -> None:
        tree = self._api.get(f"executions/{execution['id']}/tree")
        for phase in tree["tasks"]:
            total = sum(phase["counts"].values())
            done = sum(phase["counts"].get(status, 0) for status in DONE)
            self._draw(phase["id"], phase["title"], done, total, ", ".join(doing(phase)))
        told = execution["progress"]
        self._draw("", "All of it", told["completed"], told["total"], execution["status"])
        self._progress.refresh()

    def _draw(self, place: str, title: str, done: int, total: int, doing: str) -> None:
        if place not in self._bars:
            self._bars[place] = self._progress.add_task(title, total=total, doing="")
        self._progress.update(self._bars[place], completed=done, total=total, doing=doing)

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


def line(**how: Any) -> Column:
    return Column(no_wrap=True, overflow="ellipsis", **how)


def doing(node: dict[str, Any]) -> list[str]:
    """The jobs below a phase that somebody works on."""
    mine = [job["title"] for job in node["jobs"] if job["status"] in BUSY]
    return mine + [title for task in node["tasks"] for title in doing(task)]


def tell(line: str) -> None:
    # A reader that went away (`taskyard demo | head`) is no reason to end.
    with suppress(OSError):
        sys.stdout.write(f"{printable(line, 2000)}\n")
        sys.stdout.flush()
