"""The result as a person reads it, and as a machine does."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.processes import ROOT
from bench.yardsticks import Yardsticks

RESULTS = ROOT / "bench" / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """`ok` is None where there was nothing to hold the value against."""

    what: str
    measured: str
    ratio: str
    aim: str
    ok: bool | None
    details: dict[str, object] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return {True: "ok", False: "SHORT", None: "-"}[self.ok]


def show(
    environment: dict[str, object],
    yardsticks: Yardsticks,
    rows: Sequence[Row],
    notes: Sequence[str],
) -> str:
    lines = [*_environment(environment), ""]
    lines += _yardsticks(yardsticks)
    if not rows:
        return "\n".join(lines)
    titles = ("what", "measured", "ratio", "aim", "")
    body = [(row.what, row.measured, row.ratio, row.aim, row.verdict) for row in rows]
    widths = [max(len(line[place]) for line in [titles, *body]) for place in range(4)]
    for line in (titles, tuple("-" * width for width in [*widths, 5]), *body):
        cells = [
            cell.ljust(width) if place in (0, 3) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line[:4], widths, strict=True))
        ]
        lines.append("  ".join([*cells, line[4]]).rstrip())
    lines += ["", "cores used (web, PostgreSQL, …):"]
    lines += [f"  {row.what}: {_cores(row)}" for row in rows if "cores" in row.details]
    lines += ["", *notes] if notes else []
    return "\n".join(lines)


def keep(
    name: str, environment: dict[str, object], yardsticks: Yardsticks | None, rows: Sequence[Row]
) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    whole: dict[str, object] = {
        "environment": environment,
        "rows": [{**asdict(row), "verdict": row.verdict} for row in rows],
    }
    if yardsticks is not None:
        whole["yardsticks"] = {
            "N": round(yardsticks.web, 1),
            "D": round(yardsticks.database, 1),
            "L": round(yardsticks.limit, 1),
            "L_of_two_calls": round(yardsticks.limit_of_two_calls, 1),
            "round_trip_ms": round(yardsticks.round_trip_ms, 3),
            "round_trip_back_to_back_ms": round(yardsticks.trip_back_to_back_ms, 3),
            "taken": yardsticks.details,
        }
    text = json.dumps(whole, indent=2)
    path.write_text(text)
    (RESULTS / f"{name}-latest.json").write_text(text)
    return path


def _environment(environment: dict[str, object]) -> list[str]:
    libraries, postgresql, settings = (
        environment[part] for part in ("libraries", "postgresql", "settings")
    )
    assert isinstance(libraries, dict)
    assert isinstance(postgresql, dict)
    assert isinstance(settings, dict)
    return [
        f"{environment['cpu']}, {environment['cores']} cores, {environment['memory_gib']} GiB, "
        f"{environment['system']}, Python {environment['python']}, "
        f"load {environment['load_before']}",
        ", ".join(f"{name} {number}" for name, number in libraries.items()),
        "PostgreSQL " + ", ".join(f"{name} {value}" for name, value in postgresql.items()),
        "settings: " + (" ".join(f"{name}={value}" for name, value in settings.items()) or "none"),
    ]


def _yardsticks(yardsticks: Yardsticks) -> list[str]:
    def pair(values: Sequence[float]) -> str:
        return " and ".join(f"{value:,.0f}" for value in values)

    return [
        f"N  a bare view                  {yardsticks.web:>8,.0f}/s   ({pair(yardsticks.n)};"
        f" a round trip paced as successors are: {yardsticks.round_trip_ms:.2f} ms, back to back: "
        f"{yardsticks.trip_back_to_back_ms:.2f} ms)",
        f"D  bare claim and completion    {yardsticks.database:>8,.0f}/s   ({pair(yardsticks.d)})",
        f"L  1/(1/N + 1/D)                {yardsticks.limit:>8,.0f}/s   "
        f"(as two calls: {yardsticks.limit_of_two_calls:,.0f}/s)",
        "",
    ]


def _cores(row: Row) -> str:
    cores = row.details["cores"]
    assert isinstance(cores, dict)
    return ", ".join(f"{part} {used:.2f}" for part, used in cores.items())
