"""The desk: serves the calls of agents, one or many in one transaction.

One flight asks everything and takes the locks, memory decides, one flight writes and commits.
Calls are judged one after the other, in the order of their arrival, each as if it were alone.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.agents.calling import IDENTIFY, SEEN, Agent, Draw, agent_of, identified
from app.db import Json, Transaction, Tuple
from app.errors import TaskyardError
from app.executions.loading import SUCCESSORS
from app.executions.rows import (
    EXECUTION_WIDTH,
    LEASE_WIDTH,
    Job,
    execution_of,
    job_of,
    lease_of,
    work_of,
)
from app.executions.run import Run, write_runs
from app.handoff import questions
from app.handoff.calls import Answers, Call, Held, Later, Wish
from app.handoff.leases import grant
from app.handoff.questions import Question
from app.handoff.receipts import Receipts, keys_of
from app.handoff.reporting import answer, claim_after, control_of, must_know
from app.handoff.reports import TERMINAL
from app.handoff.settling import settle
from app.handoff.terms import Terms

# The lanes that each key was last seen to draw from, and its own lane: a guess.
Known = Mapping[bytes, tuple[tuple[Draw, ...], str]]


@dataclass(slots=True)
class Desk:
    """What lies on the desk while a batch of calls is served."""

    tx: Transaction
    terms: Terms
    now: dt.datetime
    busy: dict[uuid.UUID, int]
    runs: dict[uuid.UUID, Run] = field(default_factory=dict)
    # Those whose jobs and leases were read under the lock. One that only came with picked work may
    # have been let go a moment after it was tried for the reports on it.
    held: set[uuid.UUID] = field(default_factory=set)
    pool: dict[uuid.UUID, Job] = field(default_factory=dict)  # on offer, and locked by us
    taken: int = 0
    # Keys in whose lanes nothing is left but what other transactions hold, and what that is.
    drained: set[bytes] = field(default_factory=set)
    missed: dict[tuple[Draw, ...], uuid.UUID | None] = field(default_factory=dict)
    # What this desk itself has given under a claim id: no table knows of it yet.
    given: dict[tuple[uuid.UUID, str], list[Held]] = field(default_factory=dict)


def serve(
    tx: Transaction, terms: Terms, calls: Sequence[Call], known: Known
) -> list[Answers | Later | TaskyardError]:
    """Serves a batch of calls. It holds no lock when it begins, and commits nothing itself."""
    groups = gather(calls, known) if terms.enabled else []
    asked = ask(terms, calls, groups)
    told = dict(zip(asked, tx.together(*asked.values()), strict=True))
    agents = {bytes(row[0]): agent_of(row) for row in told["agents"]}
    now = tx.read_now(told["now"][0][0])
    desk = Desk(tx, terms, now, defaultdict(int, told["busy"]))
    receipts = Receipts(told.get("receipts", ()))
    lay_out(desk, told)
    for place, group in enumerate(groups):
        rows = told[f"picked {place}"]
        fill_pool(desk, rows)
        if len(rows) < group.most:
            desk.drained |= group.digests
    results: list[Answers | Later | TaskyardError] = []
    for call in calls:
        try:
            answers = Answers(identified(agents.get(call.digest), call.agent_id))
            if call.execution_id is not None and call.execution_id not in desk.held:
                results.append(miss(desk, call, answers.agent))
                continue
            if call.execution_id is not None:
                take_reports(desk, call, answers, receipts)
            results.append(answers)
        except TaskyardError as refusal:
            results.append(refusal)
    for run in desk.runs.values():
        settle(tx, run)
    hand_out(desk, calls, results, told)
    write_runs(tx, desk.runs.values())
    receipts.keep(tx)
    sign_of_life(desk, results)
    for call, result in zip(calls, results, strict=True):
        if isinstance(result, Answers) and call.execution_id in desk.runs:
            result.control = control_of(desk.runs[call.execution_id], None)
    return results


def ask(terms: Terms, calls: Sequence[Call], groups: Sequence[Group]) -> dict[str, Question]:
    """Every question of the first flight, in the order of locks."""
    digests = [call.digest for call in calls]
    reports = [report for call in calls for report in call.reports]
    missed = {call.missed for call in calls if call.missed is not None}
    wanted = {call.execution_id for call in calls if call.execution_id is not None} - missed
    asked: dict[str, Question] = {"now": (questions.BEGIN, {})}
    if missed:
        asked["waited for"] = questions.HOLD_MISSED, {"executions": list(missed)}
    asked["agents"] = IDENTIFY, {"digests": digests}
    if wanted:
        asked["free"] = questions.HOLD_FREE, {"executions": list(wanted)}
    asked["busy"] = questions.BUSY, {"digests": digests}
    if reports:
        jobs = [report.job_id for report in reports]
        leases = [terms.lease_of(report.token) for report in reports]
        ended = [report.job_id for report in reports if isinstance(report, TERMINAL)]
        keys = [
            (call.digest, key)
            for call in calls
            for report in call.reports
            for key in keys_of(report)
        ]
        asked["jobs"] = questions.JOBS, {"jobs": jobs}
        asked["leases"] = questions.LEASES, {"leases": [one for one in leases if one is not None]}
        asked["receipts"] = questions.RECEIPTS, in_columns(keys, "digests", "keys")
        if ended:
            asked["successors"] = SUCCESSORS, {"jobs": ended}
    polls = [call for call in calls if call.execution_id is None]
    if polls:
        asked["standing"] = questions.STANDING, {"digests": [call.digest for call in polls]}
    wishes = {(call.digest, call.wish.claim) for call in polls if call.wish is not None}
    claims = [(digest, claim) for digest, claim in wishes if claim is not None]
    if claims:
        asked["given"] = questions.GIVEN, in_columns(claims, "digests", "claims")
    for place, group in enumerate(groups):
        lanes = (*group.draws, *group.own_lanes)
        asked[f"picked {place}"] = questions.pick(lanes, group.most)
    return asked


def in_columns(rows: Sequence[Sequence[object]], *names: str) -> Json:
    """Rows as the columns that `unnest` takes."""
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


@dataclass(slots=True)
class Group:
    """Calls whose agents draw from the same lanes: their wishes are one question."""

    draws: tuple[Draw, ...]
    own_lanes: list[Draw] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    most: int = 0


def gather(calls: Sequence[Call], known: Known) -> list[Group]:
    """The wishes by lanes, as far as these are known beforehand."""
    groups: dict[tuple[Draw, ...], Group] = {}
    for call in calls:
        if call.wish is not None and call.wish.actions is None and call.digest in known:
            draws, own_lane = known[call.digest]
            group = groups.setdefault(draws, Group(draws))
            group.own_lanes.append(Draw(own_lane))
            group.digests.add(call.digest)
            group.most += call.wish.most
    return list(groups.values())


def lay_out(desk: Desk, told: Mapping[str, Sequence[Tuple]]) -> None:
    for row in (*told.get("waited for", ()), *told.get("free", ())):
        run = Run(execution_of(row), desk.now)
        desk.runs[run.execution.id] = run
        desk.held.add(run.execution.id)
    # Before the jobs of the reports: a job may be both, and only here do its inputs come with it.
    for row in told.get("successors", ()):
        job = work_of(row, 1)
        if job.execution_id in desk.runs:
            desk.runs[job.execution_id].follow(row[0], job)
    for job in map(job_of, told.get("jobs", ())):
        if job.execution_id in desk.runs:
            desk.runs[job.execution_id].add(job)
    for lease in map(lease_of, told.get("leases", ())):
        if lease.execution_id in desk.runs:
            desk.runs[lease.execution_id].add_lease(lease)


def fill_pool(desk: Desk, rows: Iterable[Tuple]) -> None:
    for row in rows:
        run = desk.runs.get(row[0])
        if run is None:
            run = desk.runs[row[0]] = Run(execution_of(row), desk.now)
        job = run.add(work_of(row, EXECUTION_WIDTH))
        if job.offered:
            desk.pool[job.id] = job


def miss(desk: Desk, call: Call, agent: Agent) -> Later:
    """An execution that was not locked: at first in other hands, at the second try not there."""
    assert call.execution_id is not None
    if call.missed is not None:
        must_know(desk.tx, agent, call.execution_id, exists=False)
    return Later(call.execution_id)


def take_reports(desk: Desk, call: Call, answers: Answers, receipts: Receipts) -> None:
    assert call.execution_id is not None
    run, agent = desk.runs[call.execution_id], answers.agent
    if not any(lease.agent_id == agent.id for lease in run.leases.values()):
        must_know(desk.tx, agent, call.execution_id, exists=True)
    for report in call.reports:
        lease_id = desk.terms.lease_of(report.token)
        lease = None if lease_id is None else run.leases.get(lease_id)
        held = lease is not None and lease.live and lease.stilled_at is None
        try:
            answers.given.append(answer(desk.tx, run, agent, lease, report, receipts))
        except TaskyardError as refusal:
            answers.given.append(refusal)
        if lease is not None and lease.agent_id == agent.id:
            holds = lease.live and lease.stilled_at is None
            desk.busy[agent.id] += int(holds) - int(held)
    if call.wish is not None:
        taken = zip(call.reports, answers.given, strict=True)
        answers.claim = claim_after(
            [said for said, given in taken if not isinstance(given, TaskyardError)]
        )


def hand_out(
    desk: Desk,
    calls: Sequence[Call],
    results: Sequence[Answers | Later | TaskyardError],
    told: Mapping[str, Sequence[Tuple]],
) -> None:
    """Work for those who wish it: the best of what is on offer and of what was just freed."""
    for run in desk.runs.values():
        for job in freed(run):
            desk.pool[job.id] = job
    for call, answers in zip(calls, results, strict=True):
        if call.wish is None or not isinstance(answers, Answers):
            continue
        if call.execution_id is None:
            answers.claim = call.wish.claim
            mine = (row for row in told.get("standing", ()) if row[0] == answers.agent.id)
            answers.standing += [stands(*row[1:]) for row in mine]
        elif not answers.accepted:
            continue
        if given_before(desk, call, answers, told) or barred(desk, answers):
            continue
        if desk.terms.enabled:
            serve_wish(desk, call, answers, call.wish)


def freed(run: Run) -> Iterable[Job]:
    for ended, successors in run.successors.items():
        done = run.jobs.get(ended)
        for job in successors:
            if not job.offered or done is None:
                continue
            if done.status != done.source:
                # Its inputs were read before its prerequisite ended.
                job.inputs[done.code] = {"title": done.title, "output": done.result}
            yield job


def given_before(
    desk: Desk, call: Call, answers: Answers, told: Mapping[str, Sequence[Tuple]]
) -> bool:
    """A call repeated after a lost answer gets what it was given, and no more."""
    claim, agent = answers.claim, answers.agent
    if claim is None or (call.execution_id is not None and not answers.repeats):
        return False
    held = desk.given.get((agent.id, claim))
    if held is None:
        if call.execution_id is None:
            rows = told.get("given", ())
        else:
            asked = in_columns([(call.digest, claim)], "digests", "claims")
            rows = desk.tx.rows(questions.GIVEN, asked)
        found = {one.lease.id: one for one in map(held_of, rows)}  # two keys find a lease twice
        mine = (claim, agent.id)
        held = [one for one in found.values() if (one.lease.claim, one.lease.agent_id) == mine]
    answers.work = [one for one in held if one.lease.live]
    return bool(held) or answers.repeated


def barred(desk: Desk, answers: Answers) -> bool:
    agent = answers.agent
    busy = desk.busy[agent.id]
    if agent.status == "paused":
        reason = "This agent is paused."
    elif busy >= agent.max_concurrent:
        reason = f"It holds {busy} jobs, which is its limit."
    else:
        return False
    answers.barred = True
    answers.standing.append({"control": "pause", "reason": reason})
    return True


def serve_wish(desk: Desk, call: Call, answers: Answers, wish: Wish) -> None:
    agent = answers.agent
    most = min(wish.most, agent.max_concurrent - desk.busy[agent.id])
    take_from_pool(desk, answers, wish, most)
    draws = (*agent.draws, Draw(agent.own_lane))
    if len(answers.work) < most and call.digest not in desk.drained:
        # The pool was filled by guess and for many: what it lacks is asked for exactly, and alone.
        # What this desk has taken stands in the table as it was: found again, and passed by.
        short = most - len(answers.work) + desk.taken
        query = questions.pick(draws, short, wish.actions)
        fill_pool(desk, desk.tx.rows(*query))
        take_from_pool(desk, answers, wish, most)
    if not answers.work:
        answers.missed = first_missed(desk, agent, draws, wish)
    elif answers.claim is not None:
        desk.given[agent.id, answers.claim] = answers.work


def first_missed(desk: Desk, agent: Agent, draws: tuple[Draw, ...], wish: Wish) -> uuid.UUID | None:
    """The execution of the first job that is on offer all the same, in another transaction's hands.

    Asked once for all agents that draw from the same lanes.
    """
    if agent.draws not in desk.missed or wish.actions is not None:
        rows = desk.tx.rows(*questions.first_on_offer(draws, wish.actions))
        found = rows[0][0] if rows else None
        if wish.actions is not None or (rows and rows[0][1] == agent.own_lane):
            return found
        desk.missed[agent.draws] = found
    return desk.missed[agent.draws]


def take_from_pool(desk: Desk, answers: Answers, wish: Wish, most: int) -> None:
    agent = answers.agent
    for job in sorted(desk.pool.values(), key=order_of):
        if len(answers.work) >= most:
            return
        run = desk.runs[job.execution_id]
        if not job.offered or not run.execution.serving:
            del desk.pool[job.id]
        elif agent.takes(job.lane, job.params) and (
            wish.actions is None or job.action in wish.actions
        ):
            del desk.pool[job.id]
            lease = grant(
                run,
                job,
                agent=agent.id,
                kind=agent.kind,
                name=agent.name,
                seconds=wish.seconds,
                claim=answers.claim,
            )
            desk.busy[agent.id] += 1
            desk.taken += 1
            answers.work.append(Held(run.execution, job, lease))


def order_of(job: Job) -> tuple[object, ...]:
    """The order of the index jobs_offered."""
    return (-job.priority, -job.rank, job.ready_at, job.id)


def held_of(row: Tuple) -> Held:
    execution = execution_of(row, LEASE_WIDTH)
    return Held(execution, work_of(row, LEASE_WIDTH + EXECUTION_WIDTH), lease_of(row))


def stands(
    lease: uuid.UUID, execution: uuid.UUID, job: uuid.UUID, outcome: str | None, reason: str
) -> Json:
    return {
        "control": "cancel" if outcome == "cancelled" else "pause",
        "execution_id": execution,
        "job_id": job,
        "lease_id": lease,
        "reason": reason,
    }


def holding(tx: Transaction, agent_id: uuid.UUID, digest: bytes) -> list[Held]:
    """What an agent holds, for one that was restarted and forgot."""
    rows = tx.rows(IDENTIFY, {"digests": [digest]})
    agent = identified(agent_of(rows[0]) if rows else None, agent_id)
    return [held_of(row) for row in tx.rows(questions.HOLDING, {"agent": agent.id})]


def sign_of_life(desk: Desk, results: Sequence[Answers | Later | TaskyardError]) -> None:
    agents: set[uuid.UUID] = {
        one.agent.id
        for one in results
        if isinstance(one, Answers) and not one.agent.seen_lately(desk.now)
    }
    if agents:
        desk.tx.later(SEEN, {"agents": sorted(agents), "now": desk.now})
