"""Who used the processors during a row: read from /proc, in cores."""

import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

TICKS = os.sysconf("SC_CLK_TCK")
# The first word found in the command line names the part.
PARTS = (
    ("gunicorn", "web"),
    ("postgres", "postgres"),
    ("valkey", "valkey"),
    ("bench.generator", "generator"),
    ("bench.statements", "statements"),
    ("worker", "worker"),
    ("clock", "clock"),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    at: float
    by_pid: dict[int, tuple[str, int]]
    busy: int


def _part(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return next((part for word, part in PARTS if word in command), "other parts")


def _ours() -> dict[int, tuple[str, int]]:
    """This process and all below it, with the ticks that each has used."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            ticks[int(entry.name)] = int(fields[11]) + int(fields[12])
    ours: dict[int, tuple[str, int]] = {}
    for pid in parents:
        above = pid
        while above and above != os.getpid():
            above = parents.get(above, 0)
        if above:
            try:
                ours[pid] = (_part(pid), ticks[pid])
            except OSError:
                continue
    return ours


def _busy() -> int:
    fields = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4]


def snapshot() -> Snapshot:
    return Snapshot(perf_counter(), _ours(), _busy())


def between(before: Snapshot, after: Snapshot, generator: float) -> dict[str, float]:
    """Cores used by each part; `generator` is the CPU time that it told of itself, for it has ended
    by now. What is left of the machine's busy time belongs to strangers."""
    wall = after.at - before.at
    used: dict[str, float] = {"generator": generator}
    for pid, (part, ticks) in after.by_pid.items():
        spent = (ticks - before.by_pid.get(pid, (part, 0))[1]) / TICKS
        used[part] = used.get(part, 0.0) + spent
    strangers = (after.busy - before.busy) / TICKS - sum(used.values())
    used["strangers"] = max(0.0, strangers)
    return {part: round(seconds / wall, 2) for part, seconds in used.items() if seconds > 0.02}
