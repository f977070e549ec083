"""The sample agents: what they do, and what they do when something goes wrong."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.examples.leaky import LeakyProxy
from tests.examples.yard import EXAMPLES, Yard, sample
from tests.shell.running import Running, until

PLAN = EXAMPLES / "plans" / "office-move.json"
SAMPLES = ("prospecting_agent.py", "generic_agent.py")


def capabilities(name: str) -> list[str]:
    said = subprocess.run(
        sample(name, "--capabilities"), capture_output=True, text=True, check=True
    ).stdout
    return [one["action"] for one in orjson.loads(said)]


def test_between_them_the_two_agents_can_do_the_sample_plan(yard: Yard) -> None:
    plan = yard.call("POST", "plans", orjson.loads(PLAN.read_bytes()))
    nodes = yard.call("GET", f"plans/{plan['id']}/tasks")["items"]
    first, second = (capabilities(name) for name in SAMPLES)
    assert {node["action"] for node in nodes if node["action"]} == {*first, *second}

    execution = yard.call("POST", "executions", {"plan_id": plan["id"], "start": True})["id"]
    hands = ("--hands", "3")
    with (
        yard.hire(sample(SAMPLES[0], *hands), *first, at_once=3) as prospecting,
        yard.hire(sample(SAMPLES[1], *hands), *second, at_once=3) as generic,
    ):
        ended = yard.wait_for_end(execution)
    assert ended["status"] == "completed"
    assert ended["progress"]["completed"] == plan["counts"]["leaves"]
    assert ended["summary"]["attempts"] == plan["counts"]["leaves"], "nothing was done twice"
    assert ": completed" in prospecting.said
    assert ": completed" in generic.said


def test_an_agent_that_is_told_to_end_hands_back_what_it_holds(yard: Yard) -> None:
    execution = yard.start({"action": "slow-one", "params": {"seconds": 60}})
    with yard.hire(sample("generic_agent.py"), "slow-one"):
        until(lambda: yard.jobs(execution)[0]["status"] == "running", "it runs")
    [job] = yard.jobs(execution)
    assert (job["status"], job["attempts_used"]) == ("ready", 0)
    assert yard.events(execution, "job_released")
    yard.call("PATCH", f"executions/{execution}", {"action": "cancel"})


def test_an_agent_that_was_killed_goes_on_with_what_it_held(yard: Yard, tmp_path: Path) -> None:
    execution = yard.start({"action": "kill-me", "params": {"seconds": 2}})
    environ = yard.register("kill-me")
    with Running(sample("generic_agent.py"), tmp_path, **environ) as agent:
        until(lambda: yard.jobs(execution)[0]["status"] == "running", "it runs")
        agent.end(signal.SIGKILL)
    with Running(sample("generic_agent.py"), tmp_path, **environ) as agent:
        agent.wait_for("takes up 1 jobs")
        assert yard.wait_for_end(execution)["status"] == "completed"
        assert agent.end() == 0
    assert yard.jobs(execution)[0]["attempt"] == 1, "the same lease, not a new one"


def test_an_agent_drops_what_was_cancelled_and_takes_other_work(yard: Yard) -> None:
    cancelled = yard.start({"action": "drop-me", "params": {"seconds": 60}})
    with yard.hire(sample("generic_agent.py", "--lease", "5"), "drop-me"):
        until(lambda: yard.jobs(cancelled)[0]["status"] == "running", "it runs")
        yard.call("PATCH", f"executions/{cancelled}", {"action": "cancel"})
        other = yard.start({"action": "drop-me", "params": {"seconds": 0}})
        assert yard.wait_for_end(other, 15)["status"] == "completed"


def test_an_agent_stands_still_while_its_execution_is_paused(yard: Yard) -> None:
    steps = ["one", "two", "three", "four"]
    execution = yard.start({"action": "pause-me", "acceptance": steps, "params": {"seconds": 1}})
    with yard.hire(sample("generic_agent.py", "--lease", "5"), "pause-me"):
        until(lambda: yard.events(execution, "progress"), "it has begun")
        yard.call("PATCH", f"executions/{execution}", {"action": "pause"})
        # Its next report tells it; what it says after that, it says once more at the most.
        until(lambda: yard.events(execution, "progress")[1:], "it heard of the pause")
        heard = len(yard.events(execution, "progress"))
        threading.Event().wait(2.5)  # longer than a step: who went on would have said so
        assert len(yard.events(execution, "progress")) == heard < len(steps)
        yard.call("PATCH", f"executions/{execution}", {"action": "resume"})
        assert yard.wait_for_end(execution)["status"] == "completed"
    assert yard.jobs(execution)[0]["attempt"] == 1


def test_a_message_waits_for_its_reply_and_the_agent_does_not(yard: Yard) -> None:
    execution = yard.start(
        {"action": "send_message", "params": {"to": "the landlord", "reply": True}, "priority": 9},
        {"action": "send_message", "params": {"to": "the mover"}},
    )
    with yard.hire(sample("prospecting_agent.py"), "send_message"):
        until(
            lambda: {job["status"] for job in yard.jobs(execution)} == {"blocked", "completed"},
            "one is blocked, the other done",
        )
        [blocker] = yard.read(execution)["blockers"]
        assert "a reply from the landlord" in blocker["title"]
        answer = {"decision": "answer", "answer": "You may go."}
        yard.call("POST", f"checkpoints/{blocker['checkpoint_id']}", answer)
        assert yard.wait_for_end(execution)["status"] == "completed"
    [waited] = [job for job in yard.jobs(execution) if job["attempt"] == 2]
    detail = yard.call("GET", f"executions/{execution}/jobs/{waited['id']}")
    assert detail["result"]["reply"][0]["answer"] == "You may go."


def test_bad_input_is_not_tried_again(yard: Yard) -> None:
    execution = yard.start({"action": "calculate", "on_exhausted": "fail"})
    with yard.hire(sample("generic_agent.py"), "calculate"):
        ended = yard.wait_for_end(execution)
    assert ended["status"] == "failed"
    [job] = ended["summary"]["not_done"]
    assert job["error_class"] == "bad_input"
    assert yard.jobs(execution)[0]["attempt"] == 1


@pytest.mark.parametrize("name", SAMPLES)
def test_answers_that_get_lost_do_no_harm(yard: Yard, tmp_path: Path, name: str) -> None:
    action = f"lossy-{name[0]}" if name == "generic_agent.py" else "schedule"
    jobs: list[dict[str, Any]] = [{"action": action, "title": f"Job {n}"} for n in range(12)]
    execution = yard.start(*jobs)
    environ = yard.register(action)
    with LeakyProxy(yard.url, lose_every=3) as leaky:
        environ["YARD_URL"] = leaky.url
        with Running(sample(name), tmp_path, **environ) as agent:
            ended = yard.wait_for_end(execution)
            assert agent.end() == 0
    assert leaky.lost >= 4, "answers were lost"
    assert ended["status"] == "completed"
    assert ended["summary"]["attempts"] == 12, "no lease was wasted"
    assert len(yard.events(execution, "job_completed")) == 12


def test_a_wrong_key_ends_an_agent_with_a_sentence(yard: Yard, tmp_path: Path) -> None:
    environ = yard.register("nothing") | {"AGENT_KEY": "ty_a_wrong"}
    with Running(sample("generic_agent.py"), tmp_path, **environ) as agent:
        assert agent.wait() == 1
    assert agent.said == "This key is unknown, revoked or expired."


def test_an_agent_without_a_key_says_what_is_missing(tmp_path: Path) -> None:
    with Running(sample("prospecting_agent.py"), tmp_path) as agent:
        assert agent.wait() == 2
    assert "AGENT_ID and AGENT_KEY must be set" in agent.said
