"""Plans that are there: finding one that the caller may see, and deleting one."""

from __future__ import annotations

import uuid
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from app.accounts import audit, policy
from app.accounts.policy import Caller, Standing
from app.db import Transaction
from app.errors import Missing, Refused
from app.plans.models import Plan, PlanDependency, PlanTask


def visible_plans(caller: Caller) -> sa.Select[Plan]:
    """The plans that a person may see: their own; operators and admins see all."""
    wanted = sa.select(Plan)
    if not policy.may_see(caller, Standing()):
        wanted = wanted.where(Plan.owner_id == caller.id)
    return wanted


def find_plan(tx: Transaction, caller: Caller, plan_id: uuid.UUID) -> Plan:
    """A plan that the caller may see. Others' plans are as missing as those that never were."""
    plan = tx.session.scalars(visible_plans(caller).where(Plan.id == plan_id)).first()
    if plan is None:
        raise Missing("There is no such plan.", hint="GET /api/plans lists those that you may see.")
    return plan


def read_nodes(
    tx: Transaction, plan_id: uuid.UUID, *, after: int = -1, limit: int | None = None
) -> list[tuple[PlanTask, str | None, list[str]]]:
    """Nodes in the plan's order, each with its parent's code and the codes that it waits for."""
    above = aliased(PlanTask)
    wanted = (
        sa.select(PlanTask, above.code)
        .outerjoin(above, above.id == PlanTask.parent_id)
        .where(PlanTask.plan_id == plan_id, PlanTask.position > after)
        .order_by(PlanTask.position)
        .limit(limit)
    )
    nodes = [(node, parent) for node, parent in tx.session.execute(wanted)]
    links = (
        sa.select(PlanDependency.plan_task_id, PlanTask.code)
        .join(PlanTask, PlanTask.id == PlanDependency.prerequisite_id)
        .where(PlanDependency.plan_task_id.in_([node.id for node, _ in nodes]))
        .order_by(PlanDependency.id)
    )
    awaited: dict[uuid.UUID, list[str]] = {}
    for waits, code in tx.session.execute(links):
        awaited.setdefault(waits, []).append(code)
    return [(node, parent, awaited.get(node.id, [])) for node, parent in nodes]


def delete(tx: Transaction, caller: Caller, plan_id: uuid.UUID) -> None:
    """Deletes a plan that no execution uses. Whoever starts one meanwhile waits and finds it gone,
    or is there first."""
    plan = find_plan(tx, caller, plan_id)
    policy.require(
        policy.may_steer(caller, Standing(owns=plan.owner_id == caller.id)),
        "This plan is somebody else's.",
        "Ask its owner, or an operator.",
    )
    gone = {"title": plan.title, "owner": plan.owner_id, "version": plan.version}
    # Locked first and counted then: one statement would not see what it had to wait for.
    if tx.execute(LOCK, {"plan": plan_id}).fetchone() is None:
        raise Missing("The plan has just been deleted.")
    refuse_use(tx.fetch(USES, {"plan": plan_id}))
    tx.execute("DELETE FROM plans WHERE id = %(plan)s", {"plan": plan_id})
    audit.record(tx, caller, "plan_deleted", "plan", plan_id, before=gone)


def refuse_use(uses: dict[str, Any]) -> None:
    if uses["executions"]:
        raise Refused(
            f"The plan is in use by {uses['executions']} executions.",
            hint="Executions keep their plan, ended ones too: it says what was carried out.",
            executions=uses["executions"],
        )
    if uses["versions"]:
        raise Refused(
            "A newer version of this plan is built on it.", hint="Delete the newer version first."
        )


LOCK: Final = "SELECT id FROM plans WHERE id = %(plan)s FOR UPDATE"
USES: Final = """
SELECT (SELECT count(*) FROM executions WHERE plan_id = %(plan)s) AS executions,
  (SELECT count(*) FROM plans WHERE previous_id = %(plan)s) AS versions
"""
