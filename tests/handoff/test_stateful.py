"""Agents, people and the clock do whatever they like, and every promise holds after every step.

The long run alone: `python -m pytest tests/handoff/test_stateful.py -m slow -s`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from app.db import Database
from tests.fresh import People, empty
from tests.handoff.agents_at_work import AgentsAtWork
from tests.handoff.people_at_work import PeopleAtWork
from tests.handoff.world import SEEDS, World

QUICKLY = settings(
    max_examples=20,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
MANY_STEPS = 25_000


class Machine(AgentsAtWork, PeopleAtWork):
    """Everybody at once."""

    @rule(seed=SEEDS)
    def somebody_acts(self, seed: int) -> None:
        dice = self.dice(seed)
        [act] = dice.choices(*zip(*self.acts(), strict=True))
        act(dice)

    def acts(self) -> list[tuple[Callable[[Random], None], int]]:
        """What may happen next, and how often."""
        return [
            (self.act_as_an_agent, 60),
            (self.act_as_a_person, 15),
            (self.act_as_the_clock, 10),
            (self.do_something_again, 8),
            (self.report_with_anothers_token, 2),
            (self.do_something_rare, 5),
        ]


@pytest.fixture
def world(app: Flask, database: Database, people: People) -> Iterator[World]:
    yield World(
        app,
        database,
        people,
        owner=people.user("member"),
        operator=people.user("operator"),
        admin=people.user("admin"),
        stranger=people.user("member"),
    )
    database.shift *= 0
    database.dispatch.bell = app.extensions["taskyard.bell"]


def test_every_promise_holds_whatever_happens(world: World) -> None:
    Machine.world = world
    run_state_machine_as_test(Machine, settings=QUICKLY)
    assert world.steps > 500


@pytest.mark.slow
def test_every_promise_holds_for_25_000_steps(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    Machine.world = world
    began = time.monotonic()
    while world.steps < MANY_STEPS:
        empty(world.database)
        again = World(
            world.app,
            world.database,
            world.people,
            owner=world.people.user("member"),
            operator=world.people.user("operator"),
            admin=world.people.user("admin"),
            stranger=world.people.user("member"),
            steps=world.steps,
        )
        Machine.world = world = again
        run_state_machine_as_test(
            Machine, settings=settings(QUICKLY, max_examples=50, stateful_step_count=60)
        )
    with capsys.disabled():
        print(f"\n{world.steps} steps in {time.monotonic() - began:.0f} s")  # noqa: T201  # the figure is asked for
