"""The agent guide and the README are true: what they show is done, on a Taskyard that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from app.handoff.reports import TYPES, Report, respelled
from tests.docs.pages import blocks
from tests.examples.yard import Yard
from tests.shell.running import ROOT, until

README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "agent-guide.md"
DOCUMENTED = "http://127.0.0.1:8000"


def examples() -> list[dict[str, Any]]:
    """The guide's reports: each JSON block with a `type` and no `title` of a problem's."""
    read = [orjson.loads(text) for text in blocks(GUIDE, "json")]
    return [one for one in read if "type" in one and "status" not in one]


def place_for(yard: Yard, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder that looks like the clone, and an environment that finds the running instance."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    program = Path(sys.prefix) / "bin" / "taskyard"
    assert program.exists(), "the pages call .venv/bin/taskyard: install the project (make setup)"
    environ = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "TASKYARD_DATA": str(yard.data),
        "YARD_URL": yard.url,
        "TOKEN": yard.token,
    }
    return tmp_path, environ


def test_the_readmes_agent_is_the_sample_word_for_word() -> None:
    agent = (ROOT / "examples" / "agent.sh").read_text()
    assert agent in blocks(README, "sh")
    assert len(agent.splitlines()) == 15


def test_the_readmes_agent_works_as_pasted(yard: Yard, tmp_path: Path) -> None:
    _, setting, agent = blocks(README, "sh")
    pasted = (setting + agent).replace(DOCUMENTED, yard.url)
    cwd, environ = place_for(yard, tmp_path)
    del environ["YARD_URL"]
    shell = subprocess.Popen(
        ["bash"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=environ,
        start_new_session=True,
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    try:
        shell.stdin.write(pasted)
        shell.stdin.close()

        def execution() -> Any:
            found = yard.call("GET", "executions", text="Harbour Street")["items"]
            return found[0] if found else None

        until(execution, "the pasted lines started an execution", 30)
        ended = yard.wait_for_end(execution()["id"], 90)
    finally:
        os.killpg(shell.pid, 9)
        said = shell.stdout.read()
        shell.stdout.close()
        shell.wait()
    assert ended["status"] == "completed", said
    assert ended["summary"]["attempts"] == ended["progress"]["total"] == 40
    assert said.count("Working on: ") == 40
    assert "curl:" not in said
    assert "Traceback" not in said


def test_the_readme_says_that_much_and_no_more() -> None:
    assert len(README.read_text().splitlines()) <= 80, "one screen, give or take a scroll"


def test_the_guides_commands_run_as_they_stand(yard: Yard, tmp_path: Path) -> None:
    execution = yard.start({"action": "research", "title": "Read the offers"})
    cwd, environ = place_for(yard, tmp_path)
    script = "set -euo pipefail\n" + "\n".join(blocks(GUIDE, "sh"))
    done = subprocess.run(
        ["bash"], input=script, cwd=cwd, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert yard.read(execution)["status"] == "completed"
    assert '"status":"completed"' in done.stdout
    assert '"work":[]' in done.stdout


def test_the_guide_has_an_example_of_every_report() -> None:
    kinds = {get_args(report.model_fields["type"].annotation)[0] for report in get_args(Report)}
    assert {one["type"] for one in examples()} == kinds
    text = GUIDE.read_text()
    assert all(f"`{spelling}`" in text for spelling in TYPES)


@pytest.mark.parametrize("example", examples(), ids=lambda one: str(one["type"]))
def test_every_example_of_the_guide_is_taken(yard: Yard, example: dict[str, Any]) -> None:
    action = f"guide-{example['type']}"
    execution = yard.start({"action": action})
    agent = yard.register(action)
    work = yard.call("GET", f"agents/{agent['AGENT_ID']}/work", key=agent["AGENT_KEY"])["work"][0]
    names = {"job_id": work["job"]["id"], "token": work["lease"]["token"]}
    path = f"executions/{execution}/events"
    answer = yard.call("POST", path, {**names, **example}, key=agent["AGENT_KEY"])
    assert answer["type"] == respelled(example)["type"]
    [after] = [job for job in yard.jobs(execution) if job["id"] == names["job_id"]]
    assert answer["status"] == after["status"] == LEADS_TO.get(example["type"], "running")
    yard.call("DELETE", f"agents/{agent['AGENT_ID']}")


LEADS_TO = {
    "completed": "completed",
    "failed": "ready",
    "blocked": "blocked",
    "released": "ready",
    "checkpoint": "waiting",
    "decomposed": "skipped",
}


def test_the_guide_shows_work_as_it_comes(yard: Yard) -> None:
    """The fields of the example are those of an answer, all the way down."""
    [shown] = [one for one in map(orjson.loads, blocks(GUIDE, "json")) if "work" in one]
    execution = yard.start({"action": "shown-work"})
    agent = yard.register("shown-work")
    came = yard.call("GET", f"agents/{agent['AGENT_ID']}/work", key=agent["AGENT_KEY"])
    assert shown.keys() == came.keys()
    for part in ((), ("lease",), ("job",), ("context",)):
        here, there = shown["work"][0], came["work"][0]
        for name in part:
            here, there = here[name], there[name]
        assert here.keys() == there.keys(), part
    yard.call("PATCH", f"executions/{execution}", {"action": "cancel"})
