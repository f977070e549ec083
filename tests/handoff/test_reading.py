"""What is wrong with a report is told where it is wrong."""

from __future__ import annotations

import uuid

import pytest

from tests.fresh import People

JOB = str(uuid.uuid4())


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"type": "progress", "job_id": JOB, "token": "x", "percent": 101}, "/percent"),
        ({"type": "progress", "job_id": JOB, "token": "x"}, "/percent"),
        ({"job_id": JOB, "token": "x"}, "/type"),
        ({"type": "finished", "job_id": JOB, "token": "x"}, "/type"),
        ({"type": "completed", "job_id": JOB, "token": "x", "outputs": 1}, "/outputs"),
        ({"type": "usage", "job_id": JOB, "token": "x", "tokens": "7"}, "/tokens"),
    ],
)
def test_a_fault_has_its_pointer(people: People, said: dict[str, object], pointer: str) -> None:
    answer = people.agent().post(f"/api/executions/{uuid.uuid4()}/events", said)
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json["errors"]] == [pointer]
