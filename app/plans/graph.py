"""The graph between things that wait for each other: circles, orders, ranks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


def find_cycle(needs: Mapping[str, Iterable[str]]) -> list[str] | None:
    """The first circle among `needs` (who → what it waits for), named by its path, or None.

    Iterative: a plan of thousands of jobs in a row would overrun Python's stack otherwise.
    """
    done: set[str] = set()
    for root in needs:
        if root in done:
            continue
        path: list[str] = [root]
        on_path: set[str] = {root}
        walks: list[Iterator[str]] = [iter(needs[root])]
        while walks:
            step = next(walks[-1], None)
            if step is None:
                walks.pop()
                left = path.pop()
                on_path.discard(left)
                done.add(left)
            elif step in on_path:
                return [*path[path.index(step) :], step]
            elif step not in done:
                path.append(step)
                on_path.add(step)
                walks.append(iter(needs.get(step, ())))
    return None
