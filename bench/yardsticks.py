"""What the machine can do without the product: N requests a second through a bare view, D pairs of
bare claim and completion a second on the same database, and the limit L of doing both."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import statements
from bench.load import Login, Seen, drive
from bench.processes import ROOT, BenchFailed, answers, free_port, start, wait_until

STRANGERS = [
    Login(f"01939d5e-7c00-7abc-8def-{place:012d}", "tyk_" + "k" * 43) for place in range(64)
]
PROCESSES = 2
# The pace of the row on successors: so many pairs of agents, each step so many seconds apart.
PAIRS = 4
THINK = 0.02
AGENTS = (1, 32, 64)
PACED = 0


@dataclass(slots=True)
class Yardsticks:
    """Each is taken before and after the rows and the mean is used, so a machine that grows slower
    on the way does not favour either side."""

    n: list[float] = field(default_factory=list)
    d: list[float] = field(default_factory=list)
    round_trips_ms: list[float] = field(default_factory=list)
    back_to_back_ms: list[float] = field(default_factory=list)
    details: list[dict[str, object]] = field(default_factory=list)

    @property
    def web(self) -> float:
        return sum(self.n) / len(self.n)

    @property
    def database(self) -> float:
        return sum(self.d) / len(self.d)

    @property
    def limit(self) -> float:
        return 1 / (1 / self.web + 1 / self.database)

    @property
    def limit_of_two_calls(self) -> float:
        return 1 / (2 / self.web + 1 / self.database)

    @property
    def round_trip_ms(self) -> float:
        return sum(self.round_trips_ms) / len(self.round_trips_ms)

    @property
    def trip_back_to_back_ms(self) -> float:
        return sum(self.back_to_back_ms) / len(self.back_to_back_ms)

    def take(self, url: str, answer: Path | None, *, seconds: float) -> None:
        web = flask_alone(answer, seconds=seconds)
        database = {
            connections: database_alone(url, connections, seconds=seconds)
            for connections in (8, 16)
        }
        self.n.append(max(web[32].per_second, web[64].per_second))
        self.round_trips_ms.append(web[PACED].p50("trip"))
        self.back_to_back_ms.append(web[1].p50("handoff"))
        self.d.append(max(database.values()))
        self.details.append(
            {
                "requests_per_second": {str(of): web[of].per_second for of in AGENTS},
                "pairs_per_second": {f"{PROCESSES}x{of}": pairs for of, pairs in database.items()},
                "round_trip": web[PACED].times["trip"],
                "round_trip_back_to_back": web[1].times["handoff"],
                "cores": web[32].cores,
            }
        )


def flask_alone(answer: Path | None, *, seconds: float) -> dict[int, Seen]:
    """By number of agents; under PACED, a few of them with pauses between their requests."""
    port = free_port()
    environ = dict(os.environ)
    if answer is not None:
        environ["BENCH_ANSWER"] = str(answer)
    with TemporaryDirectory(prefix="tyb") as folder:
        bare = start(
            "gunicorn-bare",
            [
                *(sys.executable, "-m", "gunicorn", "-c", "bench/gunicorn_bare.py"),
                *("--bind", f"127.0.0.1:{port}", "bench.bare:app"),
            ],
            Path(folder),
            environ=environ,
        )
        try:
            wait_until(lambda: answers(port), bare, 15)
            seen = {
                number: drive("next", port, STRANGERS[:number], warmup=0.7, seconds=seconds)
                for number in AGENTS
            }
            seen[PACED] = drive(
                "paced", port, STRANGERS[:PAIRS], warmup=0.7, seconds=seconds, pause=THINK
            )
            for one in seen.values():
                if one.refused:
                    raise BenchFailed(f"the bare app refused: {one.first_refusal}")
            return seen
        finally:
            bare.end()


def database_alone(url: str, connections: int, *, seconds: float) -> float:
    """Pairs of claim and completion a second, from two processes of that many connections each."""
    warmup = 0.5
    statements.prepare(url, jobs=int(8000 * (seconds + warmup)))
    order = json.dumps(
        {"url": url, "connections": connections, "warmup": warmup, "seconds": seconds}
    ).encode()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.statements"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for _ in range(PROCESSES)
    ]
    try:
        for process in running:
            assert process.stdin is not None
            process.stdin.write(order)
            process.stdin.close()
        pairs = 0
        for process in running:
            assert process.stdout is not None
            pairs += int(process.stdout.read() or b"0")
            if process.wait(30):
                raise BenchFailed("the bare statements failed; see the trace above")
        return round(pairs / seconds, 1)
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
        statements.remove(url)
