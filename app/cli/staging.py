"""What the demo puts on stage: a user with a token, the sample plan, two agents, an execution."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import sqlalchemy as sa

from app.accounts import audit, tokens, users
from app.accounts.models import ApiToken, User
from app.cli.calling import Api
from app.cli.processes import ROOT
from app.cli.users import operating, transaction
from app.errors import Missing, Refused, TaskyardError

EMAIL: Final = "demo@example.org"
TOKEN: Final = "taskyard demo"  # noqa: S105 - its name
LIVES: Final = dt.timedelta(days=7)
PLAN: Final = "plans/office-move.json"
AGENTS: Final = {
    "demo prospecting agent": "prospecting_agent.py",
    "demo generic agent": "generic_agent.py",
}
HANDS: Final = 3  # jobs at once, of each agent
UNENDED: Final = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Player:
    """An agent of the demo: how its process is started."""

    name: str
    command: Sequence[str]
    environ: dict[str, str]


def examples() -> Path:
    """The folder of samples: of the clone that this runs from, or as it was installed."""
    for folder in (ROOT / "examples", Path(sys.prefix) / "share" / "taskyard" / "examples"):
        if (folder / PLAN).is_file():
            return folder
    raise Missing(
        "The sample plan and agents are not here.",
        hint="Run it from a clone of the project, or start `taskyard up` with a plan of yours.",
    )


def make_token(data: Path) -> str:
    """A token of the demo's own user, who is made where there is none; older ones end."""
    with transaction(data) as tx:
        user = users.find(tx, EMAIL)
        if user is None:
            admins = sa.select(User.id).where(User.role == "admin", User.active)
            # No more rights than it needs, except that somebody must be the first.
            role = "operator" if tx.session.scalars(admins).first() else "admin"
            user = users.create(tx, operating(), email=EMAIL, role=role, name="Demo")
        if not user.active or user.role == "member":
            raise Refused(
                f"The user {EMAIL} may not start the demo any more.",
                hint="Make them an operator again, or name another data folder with --data.",
            )
        mine = sa.select(ApiToken).where(ApiToken.user_id == user.id, ApiToken.name == TOKEN)
        for token in tx.session.scalars(mine):
            tokens.revoke(tx, token)
        record, key = tokens.issue(tx, "user", user.id, TOKEN, tx.now + LIVES)
        told = {"prefix": record.prefix}
        audit.record(tx, operating(), "token_created", "token", record.id, after=told)
        return key


def bring_plan(api: Api) -> dict[str, Any]:
    """The sample plan; imported again it is the same one."""
    plan: dict[str, Any] = api.post("plans", orjson.loads((examples() / PLAN).read_bytes()))
    return plan


def engage(api: Api, plan: dict[str, Any]) -> list[Player]:
    """The two agents, registered now or known from before; between them they can do the plan."""
    known = {agent["name"]: agent for agent in api.pages("agents", limit=500)}
    nodes = api.pages(f"plans/{plan['id']}/tasks", limit=5000)
    wanted = {node["action"] for node in nodes if node["action"] is not None}
    players: list[Player] = []
    for name, script in AGENTS.items():
        command = [sys.executable, str(examples() / script)]
        able = capabilities_of(command)
        if script == "generic_agent.py":
            able |= wanted
        wanted -= able
        said = {
            "capabilities": [{"action": action} for action in sorted(able)],
            "max_concurrent": HANDS,
        }
        if name in known:
            agent = api.patch(f"agents/{known[name]['id']}", {**said, "status": "active"})
            # The run before may have left a copy of the key in a process that still dies.
            rotated = {"name": TOKEN, "overlap_seconds": 0}
            key = api.post(f"agents/{agent['id']}/keys", rotated)["api_key"]
        else:
            agent = api.post("agents", {"name": name, **said})
            key = agent["api_key"]
        # Nothing of ours: an agent would know nothing of the yard but its address.
        environ = {"AGENT_ID": agent["id"], "AGENT_KEY": key, "YARD_URL": api.url}
        environ |= {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        players.append(Player(name, (*command, "--hands", str(HANDS), "--quiet"), environ))
    return players


def capabilities_of(command: Sequence[str]) -> set[str]:
    """What a sample agent says that it can do."""
    said = subprocess.run(
        [*command, "--capabilities"], capture_output=True, text=True, check=False, timeout=30
    )
    if said.returncode != 0:
        raise TaskyardError(f"{command[-1]} does not run: {said.stderr.strip()[-300:]}")
    return {one["action"] for one in orjson.loads(said.stdout)}


def start_or_take_up(api: Api, plan: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """An execution of the plan: the one that a former run left unfinished (true), or a new one."""
    mine = api.get("executions", plan=plan["id"], owner="me", status=UNENDED, limit=1)["items"]
    if mine:
        return mine[0], True
    started: dict[str, Any] = api.post("executions", {"plan_id": plan["id"], "start": True})
    return started, False
