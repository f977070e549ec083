"""Plans: importing, reading, what the graph says, deleting."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final, Literal

from flask import request
from pydantic import Field
from werkzeug.exceptions import UnsupportedMediaType

from app.accounts import policy
from app.accounts.policy import Caller
from app.api.frame import MEBIBYTE, database
from app.api.paging import Page, Paging, read_page
from app.api.reading import read_json
from app.api.room import Room
from app.api.wire import Answer, Moment, Query
from app.errors import Fault, Invalid
from app.plans import keeping
from app.plans.accepting import accept
from app.plans.models import Plan, PlanTask
from app.plans.outline import load_outline
from app.plans.reading import form, generic
from app.plans.reading.form import GenericPlan
from app.plans.schedule import fill_days

room = Room("plans", "Plans: importing them, and what is in them.")

LARGEST_PLAN: Final = 64 * MEBIBYTE
TAKEN: Final = (
    "Send the generic JSON of /api/schemas/plan.json: as the body with Content-Type: "
    "application/json, or as one .json file in the field `file` of a form."
)
FILE: Final = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}


class Counts(Answer):
    phases: int
    tasks: int
    subtasks: int
    leaves: int = Field(description="What becomes a job")
    dependencies: int


class PlanWarning(Answer):
    code: str
    file: str | None
    node: str | None
    message: str


class PlanOut(Answer):
    id: uuid.UUID
    owner_id: uuid.UUID
    previous_id: uuid.UUID | None = Field(description="The version that this one replaces")
    version: int
    title: str
    goal: str
    source_kind: str
    decomposition_status: str = Field(
        description="pending, running, done, needs_review or failed; it can be started when done"
    )
    counts: Counts
    warnings: list[PlanWarning]
    created_at: Moment
    updated_at: Moment


class Plans(Page[PlanOut]):
    pass


class Estimate(Answer):
    min: float | None
    likely: float | None
    max: float | None


class NodeOut(Answer):
    id: uuid.UUID
    code: str
    parent: str | None = Field(description="The code of the phase or task above")
    level: str
    title: str
    description: str
    role: str | None
    resources: list[Any]
    estimate: Estimate = Field(description="Days")
    prerequisites: list[str] = Field(description="Codes, as the plan says them")
    action: str | None
    params: dict[str, Any]
    agent_executable: bool
    confidence: float
    confidence_reasons: list[Any]
    tier: int
    risk: str
    acceptance: list[Any]
    handling: dict[str, Any] = Field(
        description="What the plan says of priority, approval, timeout, attempts"
    )


class Nodes(Page[NodeOut]):
    pass


class NodePaging(Query):
    limit: int = Field(default=500, ge=1, le=5_000, description="How many at most")
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,9}$")] | None = Field(
        default=None, description="`next_cursor` of the page before"
    )


class Asked(Query):
    ordering: Literal["phased", "strict", "free"] = Field(
        default="phased", description="What holds beside the explicit dependencies"
    )


class Knot(Answer):
    code: str
    title: str
    days: float = Field(description="Estimated; unknown days are filled in from what is around")
    rank: float = Field(description="Days of the longest path from its start to the end")


class Edge(Answer):
    job: str
    prerequisite: str


class Overruled(Answer):
    first: str
    then: str
    message: str


class GraphOut(Answer):
    ordering: str
    nodes: list[Knot] = Field(description="The jobs, in an order in which they could be done")
    edges: list[Edge]
    overruled: list[Overruled] = Field(
        description="Neighbours whose order in the plan an explicit dependency overrules"
    )


@room.post(
    "/api/plans",
    status=202,
    body=GenericPlan,
    answers={202: PlanOut},
    max_body=LARGEST_PLAN,
    also_takes={"multipart/form-data": FILE},
)
def import_plan(caller: Caller) -> PlanOut:
    """Import a plan; the same content again answers the plan that is there.

    Every fault is told at once, with its place; then nothing is stored.
    """
    policy.require_person(caller)
    draft = generic.read(read_json(read_source(), GenericPlan))
    with database().transaction() as tx:
        accepted = accept(tx, draft, caller.id)
        return show(keeping.find_plan(tx, caller, accepted.plan_id))


@room.get("/api/plans")
def find(caller: Caller, query: Paging) -> Plans:
    """List plans, newest first: your own; operators and admins see all."""
    policy.require_person(caller)
    with database().transaction() as tx:
        return Plans(**read_page(tx, keeping.visible_plans(caller), Plan, query, show))


@room.get("/api/plans/<uuid:plan_id>")
def read(caller: Caller, plan_id: uuid.UUID) -> PlanOut:
    """Read one plan."""
    policy.require_person(caller)
    with database().transaction() as tx:
        return show(keeping.find_plan(tx, caller, plan_id))


@room.get("/api/plans/<uuid:plan_id>/tasks")
def read_tasks(caller: Caller, plan_id: uuid.UUID, query: NodePaging) -> Nodes:
    """The phases, tasks and subtasks of a plan, from top to bottom."""
    policy.require_person(caller)
    after = -1 if query.cursor is None else int(query.cursor)
    with database().transaction() as tx:
        keeping.find_plan(tx, caller, plan_id)
        nodes = keeping.read_nodes(tx, plan_id, after=after, limit=query.limit + 1)
    shown = nodes[: query.limit]
    return Nodes(
        items=[show_node(*row) for row in shown],
        next_cursor=str(shown[-1][0].position) if len(nodes) > query.limit else None,
    )


@room.get("/api/plans/<uuid:plan_id>/graph")
def read_graph(caller: Caller, plan_id: uuid.UUID, query: Asked) -> GraphOut:
    """The jobs of a plan and what each waits for, under an ordering."""
    policy.require_person(caller)
    with database().transaction() as tx:
        keeping.find_plan(tx, caller, plan_id)
        outline = load_outline(tx, plan_id)
    graph = outline.expand(query.ordering)
    ranks = outline.rank(graph)
    titles = {node["code"]: node["title"] for node in outline.nodes}
    days = dict(zip(outline.tree.codes, fill_days(outline.tree, outline.estimates), strict=True))
    return GraphOut(
        ordering=query.ordering,
        nodes=[
            Knot(code=job, title=titles[job], days=days[job], rank=ranks[job])
            for job in graph.sequence
        ],
        edges=[Edge(job=job, prerequisite=awaited) for job, awaited in graph.edges()],
        overruled=[
            Overruled(
                first=first,
                then=then,
                message=f"{then} does not wait for {first}, which stands before it in the plan: "
                "an explicit dependency says otherwise.",
            )
            for first, then in graph.dropped
        ],
    )


@room.delete("/api/plans/<uuid:plan_id>")
def delete(caller: Caller, plan_id: uuid.UUID) -> None:
    """Delete a plan that no execution uses."""
    policy.require_person(caller)
    with database().transaction() as tx:
        keeping.delete(tx, caller, plan_id)


@room.get("/api/schemas/plan.json")
def read_schema() -> dict[str, Any]:
    """The JSON Schema of the generic form of a plan."""
    return form.schema()


def read_source() -> bytes:
    """The JSON that was sent: the body itself, or the one file of a form."""
    if request.is_json:
        raw = request.get_data() or b"{}"
    elif request.mimetype == "multipart/form-data":
        raw = read_file()
    else:
        raise UnsupportedMediaType(f"This kind of plan is not taken yet. {TAKEN}")
    return raw.removeprefix(b"\xef\xbb\xbf")  # what some editors put in front


def read_file() -> bytes:
    files = request.files.getlist("file")
    others = [name for name in (*request.files, *request.form) if name != "file"]
    if others or len(files) != 1:
        faults = [Fault(f"/{name}", "is not known here") for name in others]
        if len(files) != 1:
            faults.append(Fault("/file", f"holds {len(files)} files; one is expected"))
        raise Invalid("The form holds something else than one file.", faults, hint=TAKEN)
    [file] = files
    if not (file.filename or "").lower().endswith(".json"):
        raise UnsupportedMediaType(f"This kind of file is not taken yet. {TAKEN}")
    raw: bytes = file.read()
    return raw


def show(plan: Plan) -> PlanOut:
    return PlanOut.model_validate(plan)


def show_node(node: PlanTask, parent: str | None, prerequisites: list[str]) -> NodeOut:
    estimate = Estimate(min=node.duration_min, likely=node.duration_likely, max=node.duration_max)
    return NodeOut(
        parent=parent,
        estimate=estimate,
        prerequisites=prerequisites,
        confidence=node.decomposition_confidence,
        **{name: getattr(node, name) for name in NODE_FIELDS},
    )


NODE_FIELDS: Final = tuple(
    name
    for name in NodeOut.model_fields
    if name not in ("parent", "estimate", "prerequisites", "confidence")
)
