"""A draft becomes a plan. From then on it does not change: a change makes a new version."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Final

import orjson
from psycopg.types.json import Jsonb

from app.db import Json, Transaction, new_id
from app.plans.draft import DraftPlan


@dataclass(frozen=True, slots=True)
class Accepted:
    """The plan of a draft; `fresh` is false where the same content was there already."""

    plan_id: uuid.UUID
    fresh: bool


def accept(tx: Transaction, draft: DraftPlan, owner_id: uuid.UUID) -> Accepted:
    """Stores a draft that holds together. The same content by the same owner is stored once,
    however many imports of it run at a time."""
    row = tx.fetch(
        PLAN,
        {
            "id": new_id(),
            "owner": owner_id,
            "title": draft.title,
            "goal": draft.goal,
            "kind": draft.source_kind,
            "fingerprint": fingerprint(draft),
            "warnings": Jsonb([asdict(warning) for warning in draft.warnings]),
            "counts": Jsonb(count(draft)),
        },
    )
    if row["fresh"]:
        store_nodes(tx, draft, row["id"])
    return Accepted(row["id"], row["fresh"])


def fingerprint(draft: DraftPlan) -> str:
    """Of what the plan says, so that another layout of the same file is the same plan."""
    content = (draft.source_kind, draft.title, draft.goal, draft.nodes, sorted(draft.dependencies))
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def count(draft: DraftPlan) -> dict[str, int]:
    levels = Counter(node.level for node in draft.nodes)
    return {
        "phases": levels["phase"],
        "tasks": levels["task"],
        "subtasks": levels["subtask"],
        "leaves": len(draft.leaves()),
        "dependencies": len(set(draft.dependencies)),
    }


def store_nodes(tx: Transaction, draft: DraftPlan, plan_id: uuid.UUID) -> None:
    ids = {node.code: new_id() for node in draft.nodes}
    nodes: list[Json] = [
        {
            "id": ids[node.code],
            "parent_id": None if node.parent is None else ids[node.parent],
            "level": node.level,
            "position": position,
            "code": node.code,
            "title": node.title,
            "description": node.description,
            "role": node.role,
            "resources": node.resources,
            "duration_min": node.duration_min,
            "duration_likely": node.duration_likely,
            "duration_max": node.duration_max,
            "action": node.action,
            "params": node.params,
            "agent_executable": node.agent_executable,
            "decomposition_confidence": node.confidence,
            "confidence_reasons": node.reasons,
            "tier": node.tier,
            "risk": node.risk,
            "acceptance": node.acceptance,
            "handling": node.handling,
        }
        for position, node in enumerate(draft.nodes)
    ]
    links = list(dict.fromkeys(draft.dependencies))
    tx.execute(NODES, {"plan": plan_id, "nodes": Jsonb(nodes)})
    tx.execute(
        DEPENDENCIES,
        {
            "ids": [new_id() for _ in links],
            "waits": [ids[waits] for waits, _ in links],
            "awaited": [ids[awaited] for _, awaited in links],
        },
    )


# Whoever comes second waits here for the first, and then finds that plan.
PLAN: Final = """
INSERT INTO plans (id, owner_id, title, goal, source_kind, fingerprint, decomposition_status,
  warnings, counts)
VALUES (%(id)s, %(owner)s, %(title)s, %(goal)s, %(kind)s, %(fingerprint)s, 'done', %(warnings)s,
  %(counts)s)
ON CONFLICT ON CONSTRAINT plans_fingerprint_key DO UPDATE SET archived = false
RETURNING id, (xmax = 0) AS fresh
"""
COLUMNS: Final = {
    "id": "uuid",
    "parent_id": "uuid",
    "level": "text",
    "position": "integer",
    "code": "text",
    "title": "text",
    "description": "text",
    "role": "text",
    "resources": "jsonb",
    "duration_min": "float8",
    "duration_likely": "float8",
    "duration_max": "float8",
    "action": "text",
    "params": "jsonb",
    "agent_executable": "boolean",
    "decomposition_confidence": "float8",
    "confidence_reasons": "jsonb",
    "tier": "integer",
    "risk": "text",
    "acceptance": "jsonb",
    "handling": "jsonb",
}
NODES: Final = f"""
INSERT INTO plan_tasks (plan_id, {", ".join(COLUMNS)})
SELECT %(plan)s, {", ".join(f"n.{name}" for name in COLUMNS)}
FROM jsonb_to_recordset(%(nodes)s) AS n({", ".join(f"{n} {kind}" for n, kind in COLUMNS.items())})
"""
DEPENDENCIES: Final = """
INSERT INTO plan_dependencies (id, plan_task_id, prerequisite_id)
SELECT * FROM unnest(%(ids)s::uuid[], %(waits)s::uuid[], %(awaited)s::uuid[])
"""
