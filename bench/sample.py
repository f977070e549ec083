"""An answer to a report with `next=1`, for the bare view to give when none was recorded from the
running product."""

from typing import Any

EXECUTION = "01939d5e-7c00-7abc-8def-000000000001"
JOB = "01939d5e-7c00-7abc-8def-000000000002"

ANSWER: dict[str, Any] = {
    "number": 1234,
    "type": "completed",
    "job_id": JOB,
    "status": "completed",
    "lease_expires_at": "2026-11-21T09:30:00.123456Z",
    "control": "continue",
    "poll_after_seconds": 300,
    "work": [
        {
            "lease": {
                "id": "01939d5e-7c00-7abc-8def-000000000003",
                "token": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
                "attempt": 1,
                "expires_at": "2026-11-21T09:40:00.123456Z",
            },
            "execution_id": EXECUTION,
            "plan_id": "01939d5e-7c00-7abc-8def-000000000004",
            "job": {
                "id": JOB,
                "code": "1.2.37",
                "title": "Look up the opening hours",
                "action": "bench-look-up",
                "params": {"place": "the library"},
                "instructions": "Look up the opening hours and write them down.",
                "role": "",
                "timeout_seconds": None,
                "retry_policy": {"max_attempts": 3, "backoff_seconds": 30},
                "acceptance": [],
                "inputs": {},
            },
            "context": {
                "goal": "Measure how fast work is handed out.",
                "path": ["Phase", "Task"],
                "previous": [],
                "upcoming": [],
                "answers": [],
            },
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
    ],
}
