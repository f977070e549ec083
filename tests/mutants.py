"""Takes each protection out, one at a time, and expects a named test to fail (`make mutants`).

A protection whose test stays green without it is not proved. Each mutant lives in a copy of the
tree; the working tree is never touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
COPIED: Final = (
    "app", "actors", "tests", "migrations", "templates", "examples", "pyproject.toml", "wsgi.py",
    "gunicorn.conf.py",
)  # fmt: skip
PATIENCE: Final = 240


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` becomes `new` in `file`, and `test` must notice."""

    what: str
    file: str
    old: str
    new: str
    test: str


MUTANTS: Final = (
    Mutant(
        "the write's guard: the log's end is what was read",
        "app/executions/writing.py",
        "AND e.last_event = x.first",
        "",
        "tests/handoff/test_guards.py::test_a_change_of_what_has_changed_since_is_refused",
    ),
    Mutant(
        "the write's guard: a job is in the state that was read",
        "app/executions/writing.py",
        "AND (SELECT count(*) FROM moved) = %(moved)s",
        "",
        "tests/handoff/test_guards.py::test_a_move_from_another_state_is_refused",
    ),
    Mutant(
        "the write's guard: a lease that has ended stays so",
        "app/executions/writing.py",
        "AND (SELECT count(*) FROM kept) = %(kept_leases)s",
        "",
        "tests/handoff/test_guards.py::test_an_ended_lease_is_never_written_again",
    ),
    Mutant(
        "the table of moves",
        "app/executions/run.py",
        "if job.status not in sources or to not in targets:",
        "if False:",
        "tests/handoff/test_guards.py::test_a_move_that_is_not_in_the_table_is_refused",
    ),
    Mutant(
        "a report's token is of a live lease",
        "app/handoff/reporting.py",
        "lease is None or not lease.live or lease.job_id",
        "lease is None or lease.job_id",
        "tests/handoff/test_guards.py::test_a_report_after_the_lease_has_ended_changes_nothing",
    ),
    Mutant(
        "a token is the server's own",
        "app/handoff/terms.py",
        'hmac.compare_digest(self.token(lease_id).encode(), token.encode(errors="replace"))',
        "True",
        "tests/handoff/test_guards.py::test_a_forged_token_opens_nothing",
    ),
    Mutant(
        "a lease is the caller's own",
        "app/handoff/reporting.py",
        "or lease.agent_id != agent.id",
        "",
        "tests/handoff/test_guards.py::test_another_agents_token_opens_nothing",
    ),
    Mutant(
        "an agent's key opens that agent's work alone",
        "app/agents/calling.py",
        "if agent_id is not None and agent.id != agent_id:",
        "if False:",
        "tests/handoff/test_guards.py::test_a_key_opens_no_other_agents_work",
    ),
    Mutant(
        "a revoked key opens nothing",
        "app/agents/calling.py",
        "AND t.revoked_at IS NULL",
        "",
        "tests/handoff/test_guards.py::test_a_revoked_key_is_refused_at_the_next_call",
    ),
    Mutant(
        "an agent's limit",
        "app/handoff/desk.py",
        "busy >= agent.max_concurrent",
        "False",
        "tests/handoff/test_guards.py::test_an_agent_at_its_limit_gets_no_more",
    ),
    Mutant(
        "the lock that makes an execution's changes follow each other",
        "app/executions/run.py",
        "WHERE e.id = %(execution)s FOR NO KEY UPDATE",
        "WHERE e.id = %(execution)s",
        "tests/handoff/test_guards.py::test_changes_of_one_execution_wait_for_each_other",
    ),
    Mutant(
        "receipts make a repeated report harmless",
        "app/handoff/reporting.py",
        "if before is not None:",
        "if False:",
        "tests/handoff/test_round.py",
    ),
    Mutant(
        "a pause withdraws what is on offer",
        "app/handoff/standstill.py",
        "    run.withdraw_offers(tx)\n",
        "",
        "tests/handoff/test_guards.py::test_nothing_is_handed_out_in_a_pause",
    ),
    Mutant(
        "a pause stops the clock of a lease",
        "app/handoff/standstill.py",
        "lease.still(run.now)",
        "pass",
        "tests/handoff/test_guards.py::test_no_lease_runs_out_in_a_pause",
    ),
    Mutant(
        "a heartbeat that came before the sweep is seen by it",
        "app/control/sweeps.py",
        "lease is None or lease.stilled_at is not None or lease.expires_at > run.now",
        "lease is None",
        "tests/handoff/test_guards.py::test_a_sweep_looks_again_before_it_ends_a_lease",
    ),
    Mutant(
        "a change by session needs the page's token",
        "app/api/frame.py",
        "csrf.protect()",
        "pass",
        "tests/api/test_callers.py::test_every_change_by_cookie_needs_its_proof",
    ),
    Mutant(
        "the desk's plans are by index whatever the table held",
        "app/handoff/questions.py",
        "j.offered AND j.lane = drawn.lane",
        "j.lane = drawn.lane",
        "tests/handoff/test_guards.py::test_nothing_is_handed_out_in_a_pause",
    ),
)


def main() -> int:
    survived = []
    with tempfile.TemporaryDirectory(prefix="taskyard-mutants-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        tree.parent.chmod(0o711)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, tree / name)
        wanted = sys.argv[1:]
        for mutant in MUTANTS:
            if wanted and not any(word in f"{mutant.what} {mutant.file}" for word in wanted):
                continue
            verdict = try_mutant(tree, mutant)
            print(f"{verdict:9} {mutant.what}  ({mutant.file})", flush=True)  # noqa: T201
            if verdict != "killed":
                survived.append(mutant)
    print(f"{len(survived)} survived" if survived else "every mutant was killed")  # noqa: T201
    return 1 if survived else 0


def try_mutant(tree: Path, mutant: Mutant) -> str:
    file = tree / mutant.file
    text = file.read_text()
    if text.count(mutant.old) == 0:
        return "NOT FOUND"
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            mutant.test,
        ]
        environ = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=tree, env=environ, capture_output=True, timeout=PATIENCE, check=False
        )
    finally:
        file.write_text(text)
    # 1: tests failed. Anything else (not collected, interrupted) proves nothing.
    return {0: "SURVIVED", 1: "killed"}.get(done.returncode, f"exit {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
