"""The schedule: days from estimates, and what the end hangs on. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from app.plans.graph import JobGraph, Tree

UNKNOWN_DAYS: Final = 1.0


def mean_days(low: float | None, likely: float | None, high: float | None) -> float | None:
    """The PERT mean of an estimate; what it leaves out is taken to be as likely."""
    known = [days for days in (likely, low, high) if days is not None]
    if not known:
        return None
    middle = likely if likely is not None else statistics.fmean(known)
    low = middle if low is None else low
    high = middle if high is None else high
    return (low + 4 * middle + high) / 6


def fill_days(tree: Tree, known: Sequence[float | None]) -> list[float]:
    """Days for every node: its own; else the median of its siblings; else, where none of them has
    any, an equal share of its parent's; else one."""
    days: list[float] = [UNKNOWN_DAYS] * len(tree)
    told = [False] * len(tree)  # whether the plan says anything that these days follow from
    for group in [tree.roots, *tree.children]:
        own = [each for each in (known[node] for node in group) if each is not None]
        above = tree.parent[group[0]] if group else None
        if own:
            guess = statistics.median(own)
        elif above is not None and told[above]:
            guess = days[above] / len(group)
        else:
            guess = None
        for node in group:
            estimate = known[node]
            if estimate is None:
                estimate = guess
            if estimate is not None:
                days[node], told[node] = estimate, True
    return days


def rank_jobs(graph: JobGraph, days: Mapping[str, float]) -> dict[str, float]:
    """The longest path from a job's start to the end of everything behind it, in one pass."""
    behind = dict.fromkeys(graph.sequence, 0.0)
    for job in reversed(graph.sequence):
        rank = behind[job] = behind[job] + days[job]
        for awaited in graph.needs[job]:
            if behind[awaited] < rank:
                behind[awaited] = rank
    return behind
