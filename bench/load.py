"""Runs the generator as a process of its own and reads what it saw."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import spent
from bench.processes import ROOT, BenchFailed


@dataclass(frozen=True, slots=True)
class Login:
    """A registered agent and its key."""

    id: str
    key: str


@dataclass(frozen=True, slots=True)
class Seen:
    jobs: int
    acknowledged: int
    per_second: float
    seconds: float
    times: dict[str, dict[str, float]]
    empty_answers: int
    ran_dry: bool
    refused: dict[str, int]
    first_refusal: str
    cores: dict[str, float]

    def p50(self, what: str) -> float:
        return self._time(what, "p50_ms")

    def p99(self, what: str) -> float:
        return self._time(what, "p99_ms")

    def mean(self, what: str) -> float:
        return self._time(what, "mean_ms")

    def _time(self, what: str, which: str) -> float:
        if what not in self.times:
            raise BenchFailed(
                f"no {what} was measured; the first refusal was: {self.first_refusal or 'none'}"
            )
        return self.times[what][which]


def drive(
    kind: str, port: int, agents: Sequence[Login], *, warmup: float, seconds: float, **more: object
) -> Seen:
    order = {
        "kind": kind,
        "port": port,
        "agents": [{"id": agent.id, "key": agent.key} for agent in agents],
        "warmup": warmup,
        "seconds": seconds,
        **more,
    }
    before = spent.snapshot()
    done = subprocess.run(
        [sys.executable, "-m", "bench.generator"],
        input=json.dumps(order).encode(),
        capture_output=True,
        cwd=ROOT,
        timeout=warmup + seconds + 30,
        check=False,
    )
    after = spent.snapshot()
    if done.returncode:
        raise BenchFailed(f"the load generator failed: {done.stderr.decode()[-800:]}")
    saw: dict[str, Any] = json.loads(done.stdout)
    cpu = saw.pop("generator_cpu_seconds")
    return Seen(**saw, cores=spent.between(before, after, cpu))
