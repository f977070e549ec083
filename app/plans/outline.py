"""A stored plan as its graph and its jobs are made from: the tree without its long texts."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Final

from app.db import Row, Transaction
from app.plans.graph import JobGraph, Link, Tree, expand
from app.plans.schedule import fill_days, mean_days, rank_jobs


@dataclass(frozen=True, slots=True)
class Outline:
    """Nodes in the plan's order, their estimates, and what was said of who waits for whom."""

    nodes: list[Row]
    tree: Tree
    estimates: list[float | None]  # days, as far as the plan says
    dependencies: list[Link]

    def expand(self, ordering: str) -> JobGraph:
        return expand(self.tree, self.dependencies, ordering)

    def rank(self, graph: JobGraph) -> dict[str, float]:
        days = fill_days(self.tree, self.estimates)
        return rank_jobs(graph, dict(zip(self.tree.codes, days, strict=True)))


def load_outline(tx: Transaction, plan_id: uuid.UUID) -> Outline:
    nodes = tx.execute(NODES, {"plan": plan_id}).fetchall()
    links = tx.execute(LINKS, {"plan": plan_id}).fetchall()
    codes = {node["id"]: node["code"] for node in nodes}
    tree = Tree((node["code"], codes.get(node["parent_id"])) for node in nodes)
    estimates = [
        mean_days(node["duration_min"], node["duration_likely"], node["duration_max"])
        for node in nodes
    ]
    dependencies = [(codes[link["waits"]], codes[link["awaited"]]) for link in links]
    return Outline(nodes, tree, estimates, dependencies)


NODES: Final = """
SELECT id, parent_id, level, code, title, role, duration_min, duration_likely, duration_max,
  action, agent_executable, decomposition_confidence AS confidence, tier, handling
FROM plan_tasks WHERE plan_id = %(plan)s ORDER BY position
"""
LINKS: Final = """
SELECT d.plan_task_id AS waits, d.prerequisite_id AS awaited
FROM plan_dependencies d JOIN plan_tasks t ON t.id = d.plan_task_id
WHERE t.plan_id = %(plan)s ORDER BY d.id
"""
