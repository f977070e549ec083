"""Verdicts that need no database."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.executions.models import JOB_STATUSES
from app.executions.queries import deadline_now, percent_of
from app.executions.states import DONE
from app.executions.tree import status_of


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({}, "pending"),
        ({"pending": 3}, "pending"),
        ({"completed": 2, "pending": 1}, "pending"),
        ({"completed": 2, "ready": 1}, "ready"),
        ({"leased": 1, "failed": 1}, "running"),
        ({"blocked": 1, "waiting": 1}, "blocked"),
        ({"waiting": 1, "ready": 4}, "waiting"),
        ({"failed": 1, "completed": 4}, "failed"),
        ({"failed": 1, "pending": 4}, "failed"),
        ({"cancelled": 2, "completed": 1}, "cancelled"),
        ({"completed": 2, "skipped": 1}, "completed"),
        ({"skipped": 3}, "skipped"),
        ({"running": 0, "completed": 1}, "completed"),
    ],
)
def test_a_tasks_status_is_what_its_jobs_say(counts: dict[str, int], status: str) -> None:
    assert status_of(counts) == status


@given(st.dictionaries(st.sampled_from(JOB_STATUSES), st.integers(0, 5)))
def test_a_task_is_done_exactly_when_all_its_jobs_are(counts: dict[str, int]) -> None:
    present = {status for status, jobs in counts.items() if jobs}
    assert (status_of(counts) in DONE) == bool(present and present <= DONE)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=50), st.data())
def test_percent_stays_between_0_and_100_and_is_100_only_at_the_end(
    weights: list[float], data: st.DataObject
) -> None:
    done = data.draw(st.integers(0, len(weights)))
    percent = percent_of(sum(reversed(weights[:done])), sum(weights))
    assert 0 <= percent <= 100
    if done == len(weights) and sum(weights) > 0:
        assert percent == 100
    if sum(weights[done:]) > sum(weights) * 0.001:
        assert percent < 100


def test_a_deadline_moves_on_while_paused() -> None:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    hour = dt.timedelta(hours=1)
    assert deadline_now(now + hour, None, now) == now + hour
    assert deadline_now(now + hour, now - 2 * hour, now) == now + 3 * hour
    assert deadline_now(None, now, now) is None
