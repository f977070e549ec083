"""The rows of the table: each sets up through the product's doors, drives it, tells how it did."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import psycopg

from bench import plans
from bench.load import Login, Seen, drive
from bench.processes import BenchFailed
from bench.product import Product
from bench.table import Row
from bench.yardsticks import PAIRS, THINK, Yardsticks

EXECUTIONS = 100


@dataclass(slots=True)
class Measured:
    """One run of the load against the product; the yardsticks judge it when all are taken."""

    name: str
    what: str
    seen: Seen
    judge: Callable[[Seen, Yardsticks], tuple[str, str, str, bool | None]]

    def row(self, yardsticks: Yardsticks) -> Row:
        measured, ratio, aim, ok = self.judge(self.seen, yardsticks)
        return Row(self.what, measured, ratio, aim, ok, asdict(self.seen))


class Rows:
    """`expected` sizes what is set up: hand-offs a second that the product will hardly pass."""

    def __init__(self, product: Product, *, warmup: float, seconds: float, expected: float) -> None:
        self.product = product
        self.warmup = warmup
        self.seconds = seconds
        self.expected = expected

    def handoffs(self, agents: int, executions: int, aim: float) -> Measured:
        name = f"next-{agents}-{executions}"
        where = f"{executions} executions" if executions > 1 else "ONE execution"
        seen = self._run(name, "next", agents, executions)

        def judge(seen: Seen, sticks: Yardsticks) -> tuple[str, str, str, bool | None]:
            share = seen.per_second / sticks.limit
            return _rate(seen), f"{share:.2f} L", f">= {aim} L", share >= aim

        return Measured(name, f"hand-offs, {agents} agents, {where}", seen, judge)

    def two_calls(self, agents: int) -> Measured:
        name = f"two-calls-{agents}"
        seen = self._run(name, "turns", agents, EXECUTIONS, batch=1)

        def judge(seen: Seen, sticks: Yardsticks) -> tuple[str, str, str, bool | None]:
            share = seen.per_second / sticks.limit_of_two_calls
            return _rate(seen), f"{share:.2f} L2", ">= 0.6 L2", share >= 0.6

        return Measured(name, f"claim and report as two calls, {agents} agents", seen, judge)

    def batches(self, agents: int, single: Measured) -> Measured:
        name = f"batches-{agents}"
        seen = self._run(name, "turns", agents, EXECUTIONS, batch=25, times=6)

        def judge(seen: Seen, _: Yardsticks) -> tuple[str, str, str, bool | None]:
            ratio = seen.per_second / single.seen.per_second
            return _rate(seen), f"{ratio:.2f} x single", ">= 4 x single", ratio >= 4

        return Measured(name, f"batches of 25, {agents} agents", seen, judge)

    def successors(self) -> Measured:
        name = "successor"
        pairs = [(f"bench-{name}-{pair}-a", f"bench-{name}-{pair}-b") for pair in range(PAIRS)]
        length = int((self.warmup + self.seconds + 1) / THINK)
        plan = self.product.import_plan(plans.relays(name, pairs, length))
        self.product.execute(plan, 1)
        agents = self.product.register([[one] for pair in pairs for one in pair])
        seen = self._drive("relay", agents, think=THINK)

        def judge(seen: Seen, sticks: Yardsticks) -> tuple[str, str, str, bool | None]:
            p50 = seen.p50("successor") / sticks.round_trip_ms
            p99 = seen.p99("successor") / sticks.round_trip_ms
            # Shown as well, because processors that slept between make a trip several times longer.
            idle = sticks.round_trip_ms / sticks.trip_back_to_back_ms
            return (
                f"p50 {seen.p50('successor'):.2f} ms, p99 {seen.p99('successor'):.2f} ms",
                f"{p50:.1f} and {p99:.1f} trips ({p50 * idle:.1f} and {p99 * idle:.1f} of those "
                "back to back)",
                "<= 5 and 25 trips of N",
                p50 <= 5 and p99 <= 25,
            )

        return Measured(name, "completion -> successor in a waiter's hands", seen, judge)

    def _run(
        self,
        name: str,
        kind: str,
        agents: int,
        executions: int,
        *,
        batch: int = 1,
        times: float = 1,
    ) -> Seen:
        action = f"bench-{name}"
        needed = times * self.expected * (self.warmup + self.seconds) + 2 * agents * batch
        jobs = int(needed / executions) + 1
        plan = self.product.import_plan(plans.independent(name, [action], jobs))
        self.product.execute(plan, executions)
        logins = self.product.register([[action]] * agents, at_once=batch)
        seen = self._drive(kind, logins, batch=batch)
        self._nothing_lost(action, seen, under_way=agents * batch)
        return seen

    def _drive(self, kind: str, agents: Sequence[Login], **more: object) -> Seen:
        seen = drive(
            kind, self.product.port, agents, warmup=self.warmup, seconds=self.seconds, **more
        )
        if not seen.jobs:
            raise BenchFailed(
                f"no job was handed out; the first refusal was: {seen.first_refusal or 'none'}"
            )
        return seen

    def _nothing_lost(self, action: str, seen: Seen, under_way: int) -> None:
        """What was acknowledged is stored, and what is stored was once asked for."""
        with psycopg.connect(self.product.database_url) as connection:
            row = connection.execute(
                "SELECT count(*) FROM jobs WHERE action = %s AND status = 'completed'", (action,)
            ).fetchone()
        stored: int = row[0] if row else 0
        if not seen.acknowledged <= stored <= seen.acknowledged + under_way:
            raise BenchFailed(
                f"{seen.acknowledged} completions were acknowledged and {stored} are stored: "
                "look for what was lost or done twice before trusting a number"
            )


def _rate(seen: Seen) -> str:
    return f"{seen.per_second:,.0f}/s, p99 {seen.p99('handoff'):.0f} ms"
