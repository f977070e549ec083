"""Gates: where each node starts and ends, in an order that is kept while links are added.

A node opens its parts when it starts and ends when they have ended, so a dependency between two
nodes is one link between two gates, however many jobs stand under them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Final

# How many gates may be looked at in search of circles, in all. A plan that contradicts itself
# thousands of times would otherwise hold up a request; past this, what contradicts is left out.
PATIENCE: Final = 3_000_000


def start_of(node: int) -> int:
    return 2 * node


def end_of(node: int) -> int:
    return 2 * node + 1


class Gates:
    """Links between gates, and a position for each gate that is always behind all it waits for.

    Links that agree with the positions cost nothing. One that does not is searched for a circle
    between the two places, and the gates in between are moved (Pearce and Kelly's way).
    """

    def __init__(self, count: int) -> None:
        self.before: list[list[int]] = [[] for _ in range(count)]
        self.after: list[list[int]] = [[] for _ in range(count)]
        self.position = list(range(count))
        self.patience = PATIENCE

    def link(self, first: int, then: int) -> None:
        """Before `arrange`, unconditionally."""
        self.before[then].append(first)
        self.after[first].append(then)

    def arrange(self, wishes: Iterable[tuple[int, int]], preference: Sequence[int]) -> None:
        """Gives every gate a position that respects all links, as many wishes as it can see, and
        else the preference. The links close no circle; with the wishes they may."""
        count = len(self.before)
        held = [len(gates) for gates in self.before]
        wished: list[list[int]] = [[] for _ in range(count)]
        waits = [0] * count
        for first, then in wishes:
            wished[first].append(then)
            waits[then] += 1
        ready = [(preference[gate], gate) for gate in range(count) if not held[gate] + waits[gate]]
        # Held back by wishes alone: where nothing is ready, the first of these goes all the same.
        wishing = [
            (preference[gate], gate) for gate in range(count) if waits[gate] and not held[gate]
        ]
        heapq.heapify(ready)
        heapq.heapify(wishing)
        placed = [False] * count
        for place in range(count):
            queue = ready or wishing
            gate = heapq.heappop(queue)[1]
            while placed[gate]:
                queue = ready or wishing
                gate = heapq.heappop(queue)[1]
            placed[gate] = True
            self.position[gate] = place
            for then in self.after[gate]:
                held[then] -= 1
                if not held[then] and not placed[then]:
                    heapq.heappush(wishing if waits[then] else ready, (preference[then], then))
            for then in wished[gate]:
                waits[then] -= 1
                if not waits[then] and not held[then] and not placed[then]:
                    heapq.heappush(ready, (preference[then], then))

    def add(self, first: int, then: int) -> bool:
        """Links two gates unless that closes a circle; says whether it linked them."""
        if self.position[first] > self.position[then] and not self._make_room(first, then):
            return False
        self.link(first, then)
        return True

    def _make_room(self, first: int, then: int) -> bool:
        """Moves `first` before `then`, with all that must go along; False where none can."""
        position = self.position
        lowest, highest = position[then], position[first]
        if self.patience <= 0:
            return False
        behind = {then}
        waiting = [then]
        while waiting:
            for gate in self.after[waiting.pop()]:
                if gate == first:
                    self.patience -= len(behind)
                    return False
                if gate not in behind and position[gate] < highest:
                    behind.add(gate)
                    waiting.append(gate)
        ahead = {first}
        waiting = [first]
        while waiting:
            for gate in self.before[waiting.pop()]:
                if gate not in ahead and position[gate] > lowest:
                    ahead.add(gate)
                    waiting.append(gate)
        self.patience -= len(behind) + len(ahead)
        moved = sorted(ahead, key=position.__getitem__) + sorted(behind, key=position.__getitem__)
        for gate, place in zip(moved, sorted(position[gate] for gate in moved), strict=True):
            position[gate] = place
        return True
