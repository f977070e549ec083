"""The plans that the rows run: as plain as can be, so that the hand-off is what is measured."""

from collections.abc import Callable


def independent(title: str, actions: list[str], jobs: int) -> dict[str, object]:
    """Jobs that wait for nothing, one action after the other."""
    return _plan(title, jobs, lambda place: (actions[place % len(actions)], None))


def relays(title: str, pairs: list[tuple[str, str]], length: int) -> dict[str, object]:
    """For each pair of actions a chain whose steps alternate between them."""
    chains = len(pairs)
    return _plan(
        title,
        chains * length,
        lambda place: (
            pairs[place % chains][place // chains % 2],
            place - chains if place >= chains else None,
        ),
    )


def chains(title: str, actions: list[str], number: int, length: int) -> dict[str, object]:
    """Chains side by side, each all of one action: as many jobs are ready as there are chains."""
    return _plan(
        title,
        number * length,
        lambda place: (
            actions[place % number % len(actions)],
            place - number if place >= number else None,
        ),
    )


def _plan(
    title: str, jobs: int, step: Callable[[int], tuple[str, int | None]]
) -> dict[str, object]:
    """`step` tells of each job its action and the job that it waits for."""
    subtasks = []
    for place in range(jobs):
        action, after = step(place)
        subtasks.append(
            {
                "code": f"1.1.{place + 1}",
                "title": f"Look up opening hours, place {place + 1}",
                "action": action,
                "params": {"place": place},
                "prerequisites": [] if after is None else [f"1.1.{after + 1}"],
            }
        )
    task = {"code": "1.1", "title": "Look things up", "subtasks": subtasks}
    return {
        "title": title,
        "goal": "Measure how fast work is handed out.",
        "phases": [{"code": "1", "title": "Looking", "tasks": [task]}],
    }
