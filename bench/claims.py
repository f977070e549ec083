"""What a claim costs in a crowd: with a thousand jobs, with a million, and with a hundred thousand
ready jobs of paused executions in front of those that may be taken."""

from dataclasses import asdict
from time import perf_counter

from bench import crowd, plans
from bench.load import Login, Seen, drive
from bench.product import Product
from bench.table import Row

LANES = [f"bench-lane-{number:02d}" for number in range(50)]
JOBS, READY, COPIES, PAUSED = 1000, 100, 999, 100
AIM = 1.3


def measure(product: Product, *, seconds: float) -> list[Row]:
    """One agent that serves all fifty lanes claims and completes, one job after the other; the time
    of the claim alone is compared. The product is one on a fresh data folder."""
    plan = product.import_plan(plans.chains("a thousand", LANES, READY, JOBS // READY))
    product.execute(plan, 1)
    # Each run ends with a job in its hands: room for those that come after it.
    [agent] = product.register([LANES], at_once=10)
    crowd.settle(product.admin_url)
    small = _claims(product, agent, seconds)
    began = perf_counter()
    [template] = product.execute(plan, 1)
    crowd.copy_execution(product.admin_url, template, COPIES - 1)
    crowd.settle(product.admin_url)
    filled = perf_counter() - began
    everything, ready, lanes = crowd.count_jobs(product.admin_url)
    large = _claims(product, agent, seconds)
    before = perf_counter()
    _put_paused_in_front(product)
    paused = perf_counter() - before
    behind = _claims(product, agent, seconds)
    return [
        _row(
            f"a claim among {everything:,} jobs ({ready:,} ready, {lanes} lanes) against {JOBS:,}",
            large,
            small,
            {"filling_seconds": round(filled, 1)},
        ),
        _row(
            f"the same behind {PAUSED * JOBS:,} ready jobs of paused executions",
            behind,
            small,
            {"pausing_seconds": round(paused, 1)},
        ),
    ]


def _claims(product: Product, agent: Login, seconds: float) -> Seen:
    return drive("turns", product.port, [agent], warmup=1.0, seconds=seconds, batch=1)


def _put_paused_in_front(product: Product) -> None:
    """All ready and of the highest priority; paused through the product's own door."""
    plan = product.import_plan(plans.independent("in front", LANES, JOBS))
    [template] = product.execute(plan, 1, priority=9)
    copies = crowd.copy_execution(product.admin_url, template, PAUSED - 1)
    for execution in (template, *copies):
        product.ask(
            "PATCH",
            f"/api/executions/{execution}",
            {"action": "pause", "reason": "In front of those that may be taken."},
        )


def _row(what: str, seen: Seen, small: Seen, more: dict[str, object]) -> Row:
    ratio = seen.mean("claim") / small.mean("claim")
    return Row(
        what,
        f"{seen.mean('claim'):.2f} ms (p50 {seen.p50('claim'):.2f}) against "
        f"{small.mean('claim'):.2f} ({small.p50('claim'):.2f})",
        f"{ratio:.2f} x",
        f"<= {AIM} x",
        ratio <= AIM,
        {**asdict(seen), "against": asdict(small), **more},
    )
