"""`make bench-peers`: what procrastinate does on the same database without any HTTP."""

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path

from bench.database import postgres_alone
from bench.environment import describe
from bench.processes import BenchFailed
from bench.table import Row, keep

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
# Processes, and jobs at once in each: the best is taken.
SETTINGS = ((1, 1), (1, 8), (1, 32), (2, 1), (2, 8), (2, 32))


def install() -> None:
    stamp = ENVIRONMENT / ".installed"
    wanted = (HERE / "requirements.txt").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    subprocess.run(
        [
            *(str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"),
            *("--require-hashes", "-r", str(HERE / "requirements.txt")),
        ],
        check=True,
    )
    stamp.write_text(wanted)


def run(url: str, processes: int, concurrency: int, jobs: int) -> float:
    script = str(HERE / "procrastinate_jobs.py")
    subprocess.run([PYTHON, script, "defer", url, str(jobs)], check=True, timeout=60)
    workers = [
        subprocess.Popen(
            [PYTHON, script, "work", url, str(concurrency)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    try:
        saw = [json.loads(worker.communicate(timeout=90)[0]) for worker in workers]
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
    done = sum(one["jobs"] for one in saw)
    if done != jobs:
        raise BenchFailed(
            f"procrastinate did {done} of {jobs} jobs; run it again on a quiet machine"
        )
    worked = [one for one in saw if one["jobs"]]
    first: float = min(one["first"] for one in worked)
    last: float = max(one["last"] for one in worked)
    return jobs / (last - first)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1500, help="no-op jobs a setting")
    asked = parser.parse_args()
    install()
    rows: list[Row] = []
    with postgres_alone() as postgres:
        environment = describe(postgres.url, {})
        for processes, concurrency in SETTINGS:
            rate = run(postgres.url, processes, concurrency, asked.jobs)
            name = f"{processes} process{'es' * (processes > 1)}, {concurrency} at once"
            rows.append(
                Row(name, f"{rate:,.0f} jobs/s", "", "", None, {"per_second": round(rate, 1)})
            )
            print(f"procrastinate, {name}: {rate:,.0f} jobs/s", flush=True)
    environment["procrastinate"] = _version()
    print(f"kept in {keep('peers', environment, None, rows)}")
    return 0


def _version() -> str:
    asked = "from importlib.metadata import version; print(version('procrastinate'))"
    told = subprocess.run([PYTHON, "-c", asked], capture_output=True, text=True, check=True)
    return told.stdout.strip()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchFailed as failed:
        sys.exit(str(failed))
