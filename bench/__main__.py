"""`make bench`: the table of the product against yardsticks taken in the same run."""

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import perf_counter
from types import FrameType

from bench import claims
from bench.database import postgres_alone
from bench.environment import describe
from bench.processes import BenchFailed
from bench.product import SETTINGS, Product, record_answer, running_product
from bench.rows import EXECUTIONS, Measured, Rows
from bench.table import RESULTS, Row, keep, show
from bench.yardsticks import Yardsticks

LONGEST = 480
PARTS = ("handoffs", "one", "two-calls", "batches", "successor", "claims")


def main() -> int:
    asked = _arguments()
    began = perf_counter()
    if asked.yardsticks:
        return _yardsticks_alone(asked.seconds)
    yardsticks = Yardsticks()
    rows: list[Row] = []
    measured: list[Measured] = []
    with running_product() as product:
        environment = describe(product.database_url, SETTINGS)
        with _recorded_answer(product) as answer:
            _say("yardsticks, before")
            yardsticks.take(product.database_url, answer, seconds=2.0)
            measured += _measure(product, yardsticks, asked.parts, asked.seconds)
            _say("yardsticks, after")
            yardsticks.take(product.database_url, answer, seconds=2.0)
    rows += [one.row(yardsticks) for one in measured]
    rows += _against_procrastinate(measured)
    if "claims" in asked.parts:
        _say("a claim in a crowd")
        with running_product() as product:
            rows += claims.measure(product, seconds=3.0)
    environment["seconds"] = round(perf_counter() - began)
    print(show(environment, yardsticks, rows, [f"took {environment['seconds']} s"]))
    print(f"kept in {keep('bench', environment, yardsticks, rows)}")
    return 0


def _measure(
    product: Product, yardsticks: Yardsticks, parts: list[str], seconds: float
) -> list[Measured]:
    rows = Rows(product, warmup=1.0, seconds=seconds, expected=yardsticks.limit * 0.9)
    measured: list[Measured] = []
    single: Measured | None = None
    if "handoffs" in parts or "batches" in parts:
        _say("hand-offs over many executions")
        single = rows.handoffs(32, EXECUTIONS, 0.5)
        measured += [single, rows.handoffs(64, EXECUTIONS, 0.5)]
    if "one" in parts:
        _say("hand-offs in one execution")
        measured += [rows.handoffs(32, 1, 0.3), rows.handoffs(64, 1, 0.3)]
    if "two-calls" in parts:
        _say("claim and report as two calls")
        measured.append(rows.two_calls(32))
    if "batches" in parts and single is not None:
        _say("batches")
        measured.append(rows.batches(32, single))
    if "successor" in parts:
        _say("successors")
        measured.append(rows.successors())
    return measured


def _against_procrastinate(measured: list[Measured]) -> list[Row]:
    """Shown where `make bench-peers` was run on this machine before."""
    path = RESULTS / "peers-latest.json"
    if not path.exists():
        return []
    peers = json.loads(path.read_text())
    best = max(row["details"]["per_second"] for row in peers["rows"])
    rows = []
    for one in measured:
        if one.name.startswith("next-"):
            ratio = one.seen.per_second / best
            rows.append(
                Row(
                    f"{one.what}: against procrastinate",
                    f"{one.seen.per_second:,.0f}/s against {best:,.0f}/s",
                    f"{ratio:.2f} x",
                    ">= 2 x",
                    ratio >= 2,
                    {"taken_at": peers["environment"]["at"]},
                )
            )
    return rows


@contextmanager
def _recorded_answer(product: Product) -> Iterator[Path]:
    """A real answer to a report with the next job in it, for the bare view to give."""
    with NamedTemporaryFile(suffix=".json") as file:
        file.write(record_answer(product))
        file.flush()
        yield Path(file.name)


def _yardsticks_alone(seconds: float) -> int:
    yardsticks = Yardsticks()
    with postgres_alone() as postgres:
        environment = describe(postgres.url, {})
        yardsticks.take(postgres.url, None, seconds=seconds)
    print(show(environment, yardsticks, [], []))
    return 0


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured of each row (5)")
    parser.add_argument("--yardsticks", action="store_true", help="take the yardsticks alone")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: choose of {', '.join(PARTS)}")
    asked.parts = asked.parts or list(PARTS)
    return asked


def _end_in_order(number: int, _frame: FrameType | None) -> None:
    """On the way out all processes are ended and folders removed; a plain death leaves folders."""
    why = "it took too long" if number == signal.SIGALRM else "it was told to end"
    raise BenchFailed(f"the bench ended early: {why}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end_in_order)
    signal.signal(signal.SIGALRM, _end_in_order)
    signal.alarm(LONGEST)
    try:
        sys.exit(main())
    except BenchFailed as failed:
        sys.exit(str(failed))
