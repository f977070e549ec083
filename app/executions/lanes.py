"""Lanes: where a ready job queues, by what it asks of whoever does it."""

from __future__ import annotations

import uuid
from typing import Final

HUMAN: Final = "human"


def lane_of(
    action: str,
    *,
    human: bool = False,
    agent: uuid.UUID | None = None,
    reserved: uuid.UUID | None = None,
) -> str:
    """The lane of an action; of one agent, where the job is assigned; of people.

    `reserved` is an execution that only its own agents serve. The claim reads the same lanes.
    """
    if agent is not None:
        return f"agent:{agent}"
    if human:
        return HUMAN
    return action if reserved is None else f"{action}@{reserved}"


def lane_of_part(lane: str, chosen: str | None) -> str:
    """The lane of a part of a broken-down job: as the job's, but for an action of its own."""
    if chosen is None or lane.startswith("agent:"):
        return lane
    _, at, reserved = lane.partition("@")
    return f"{chosen}{at}{reserved}"
