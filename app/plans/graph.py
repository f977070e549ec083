"""The graph between things that wait for each other: circles, and the plan's tree as a job graph.

Pure: nodes and dependencies in, edges between jobs out. `gates` keeps the order, `schedule` the
days.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeVar

from app.errors import Refused
from app.plans.gates import Gates, end_of, start_of

Name = TypeVar("Name", bound=Hashable)
Link = tuple[str, str]  # who waits, for whom

# Depths at which siblings are done in their order: phases are 0, tasks 1, subtasks 2.
IN_ORDER: Final = {"phased": (0, 2), "strict": (0, 1, 2), "free": ()}
# How many earlier siblings a node tries to come after, once the one before it contradicts.
TRIES: Final = 8
MOST_EDGES: Final = 250_000


def find_cycle(needs: Mapping[Name, Iterable[Name]]) -> list[Name] | None:
    """The first circle among `needs` (who → what it waits for), named by its path, or None.

    Iterative: a plan of thousands of jobs in a row would overrun Python's stack otherwise.
    """
    done: set[Name] = set()
    for root in needs:
        if root in done:
            continue
        path: list[Name] = [root]
        on_path: set[Name] = {root}
        walks: list[Iterator[Name]] = [iter(needs[root])]
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


class Tree:
    """The nodes of a plan by number, in the plan's order; parents stand before their children."""

    def __init__(self, nodes: Iterable[tuple[str, str | None]]) -> None:
        self.codes: list[str] = []
        self.number: dict[str, int] = {}
        self.parent: list[int | None] = []
        self.children: list[list[int]] = []
        self.roots: list[int] = []
        self.depth: list[int] = []
        for code, parent in nodes:
            node = self.number[code] = len(self.codes)
            above = None if parent is None else self.number[parent]
            self.codes.append(code)
            self.parent.append(above)
            self.children.append([])
            self.depth.append(0 if above is None else self.depth[above] + 1)
            (self.roots if above is None else self.children[above]).append(node)

    def __len__(self) -> int:
        return len(self.codes)

    def leaves(self) -> list[int]:
        return [node for node, parts in enumerate(self.children) if not parts]

    def above(self, node: int) -> Iterator[int]:
        """Its parent, the parent's parent and so on."""
        up = self.parent[node]
        while up is not None:
            yield up
            up = self.parent[up]

    def depth_of(self, code: str) -> int:
        return self.depth[self.number[code]]

    def related(self, one: str, other: str) -> bool:
        """Whether one is a part of the other: then neither can wait for the other."""
        a, b = self.number[one], self.number[other]
        return a in self.above(b) or b in self.above(a)

    def groups(self, depths: Sequence[int]) -> list[list[int]]:
        """The siblings that have an order at these depths, the innermost first."""
        groups = [self.roots, *self.children]
        found = [group for group in groups if len(group) > 1 and self.depth[group[0]] in depths]
        return sorted(found, key=lambda group: -self.depth[group[0]])

    def reading_order(self) -> list[int]:
        """Each gate's place when the plan is read from top to bottom."""
        places = [0] * (2 * len(self))
        waiting = [end_of(node) for node in reversed(self.roots)]
        waiting = [gate for end in waiting for gate in (end, end - 1)]
        place = 0
        while waiting:
            gate = waiting.pop()
            places[gate] = place
            place += 1
            if gate % 2 == 0:
                for part in reversed(self.children[gate // 2]):
                    waiting += (end_of(part), start_of(part))
        return places


@dataclass(frozen=True, slots=True)
class Circle:
    """Dependencies that close a circle: its path, and the dependencies on it by their place."""

    path: tuple[str, ...]
    links: tuple[int, ...]

    def __str__(self) -> str:
        return " → ".join(self.path)


def find_circles(tree: Tree, dependencies: Sequence[Link], most: int = 20) -> list[Circle]:
    """Circles among dependencies between nodes of any level. Each is looked for without the
    last-declared dependency of those found before, so that all are told at once.

    Who waits for a node waits for its parts; and a part waits for what its whole waits for.
    """
    needs: dict[int, dict[int, int]] = {gate: {} for gate in range(2 * len(tree))}
    for node in range(len(tree)):
        # First, so that a circle is told without the way down to a part and up again.
        needs[end_of(node)][start_of(node)] = -1
    for node, above in enumerate(tree.parent):
        if above is not None:
            needs[start_of(node)][start_of(above)] = -1
            needs[end_of(above)][end_of(node)] = -1
    for place, (waits, awaited) in enumerate(dependencies):
        gate = start_of(tree.number[waits])
        needs[gate].setdefault(end_of(tree.number[awaited]), place)
    found: list[Circle] = []
    while len(found) < most:
        gates = find_cycle(needs)
        if gates is None:
            break
        steps = list(pairwise(gates))
        links = [needs[gate][then] for gate, then in steps if needs[gate][then] >= 0]
        found.append(Circle(name_path(tree, gates), tuple(sorted(links))))
        last = max(links)
        waits, awaited = dependencies[last]
        del needs[start_of(tree.number[waits])][end_of(tree.number[awaited])]
    return found


def name_path(tree: Tree, gates: Sequence[int]) -> tuple[str, ...]:
    """A circle of gates by the codes that it passes, beginning with the plan's first."""
    nodes = [gate // 2 for gate in gates[:-1]]
    nodes = [node for place, node in enumerate(nodes) if node != nodes[place - 1]] or nodes[:1]
    first = nodes.index(min(nodes))
    nodes = nodes[first:] + nodes[:first]
    return tuple(tree.codes[node] for node in [*nodes, nodes[0]])


@dataclass(slots=True)
class JobGraph:
    """What each job waits for, as codes. `sequence` is an order in which they could be done."""

    sequence: list[str] = field(default_factory=list)
    needs: dict[str, list[str]] = field(default_factory=dict)
    # Neighbours (earlier, later) whose order in the plan an explicit dependency overrules.
    dropped: list[Link] = field(default_factory=list)

    def edges(self) -> Iterator[Link]:
        for job, before in self.needs.items():
            for awaited in before:
                yield job, awaited


def expand(tree: Tree, dependencies: Iterable[Link], ordering: str) -> JobGraph:
    """The job graph of a plan: explicit dependencies, and what else its ordering says.

    The dependencies close no circle (`find_circles`). Where the plan's order would close one with
    them, it gives way. Raises Refused where jobs side by side before jobs side by side would make
    more edges than a database should hold.
    """
    gates = Gates(2 * len(tree))
    for node, above in enumerate(tree.parent):
        if above is not None:
            gates.link(start_of(above), start_of(node))
            gates.link(end_of(node), end_of(above))
        if not tree.children[node]:
            gates.link(start_of(node), end_of(node))
    explicit = [(tree.number[waits], tree.number[awaited]) for waits, awaited in dependencies]
    explicit = list(dict.fromkeys(explicit))
    for waits, awaited in explicit:
        gates.link(end_of(awaited), start_of(waits))
    groups = tree.groups(IN_ORDER[ordering])
    wishes = [
        (end_of(first), start_of(then)) for group in groups for first, then in pairwise(group)
    ]
    gates.arrange(wishes, tree.reading_order())
    graph = JobGraph()
    order: list[tuple[int, int]] = []
    for group in groups:
        kept = put_in_order(gates, group)
        order += kept
        graph.dropped += [
            (tree.codes[first], tree.codes[then])
            for first, then in pairwise(group)
            if (first, then) not in kept
        ]
    join_jobs(tree, gates, [(then, first) for first, then in order] + explicit, graph)
    return graph


def put_in_order(gates: Gates, group: Sequence[int]) -> dict[tuple[int, int], None]:
    """Links siblings in their order. Where one cannot come after the one before it, it comes after
    those before that, and the next comes after both: the rest of the order holds all the same."""
    kept: dict[tuple[int, int], None] = {}
    earlier: dict[int, list[int]] = {}
    last: list[int] = []  # nothing of the group comes after these yet
    for node in group:
        earlier[node] = []
        candidates = last[-TRIES:]
        left = TRIES * 2
        while candidates and left:
            left -= 1
            before = candidates.pop()
            if before in earlier[node]:
                continue
            if gates.add(end_of(before), start_of(node)):
                kept[before, node] = None
                earlier[node].append(before)
            else:
                candidates = earlier[before][-TRIES:] + candidates
        last = [before for before in last if before not in earlier[node]]
        last.append(node)
        del last[: -4 * TRIES]  # so that a plan told backwards stays cheap
    return kept


def join_jobs(tree: Tree, gates: Gates, links: Sequence[tuple[int, int]], graph: JobGraph) -> None:
    """Edges from job to job, found by going from each job's start back to the ends of jobs."""
    waits_for: list[list[int]] = [[] for _ in range(len(tree))]
    follows_sibling = [False] * len(tree)
    leads_sibling = [False] * len(tree)
    for waits, awaited in links:
        waits_for[waits].append(awaited)
        if tree.parent[waits] == tree.parent[awaited]:
            follows_sibling[waits] = leads_sibling[awaited] = True
    # Per gate, the jobs that must have ended before it opens.
    behind: list[dict[int, None]] = [{} for _ in range(2 * len(tree))]
    edges = 0
    for gate in sorted(range(2 * len(tree)), key=gates.position.__getitem__):
        node = gate // 2
        above = tree.parent[node]
        if gate % 2 == 0:
            sources = [behind[end_of(awaited)] for awaited in waits_for[node]]
            # Who follows a sibling waits for their parent's start through it.
            if above is not None and not follows_sibling[node]:
                sources.append(behind[start_of(above)])
        elif tree.children[node]:
            sources = [
                behind[end_of(part)] for part in tree.children[node] if not leads_sibling[part]
            ]
        else:
            behind[gate] = {node: None}
            continue
        sources = [source for source in sources if source]
        behind[gate] = sources[0] if len(sources) == 1 else merge(sources)
        if gate % 2 == 0 and not tree.children[node]:
            edges += len(behind[gate])
            if edges > MOST_EDGES:
                raise too_dense()
            graph.sequence.append(tree.codes[node])
            graph.needs[tree.codes[node]] = [tree.codes[job] for job in behind[gate]]


def merge(sources: Sequence[dict[int, None]]) -> dict[int, None]:
    merged: dict[int, None] = {}
    for source in sources:
        merged |= source
    return merged


def too_dense() -> Refused:
    return Refused(
        f"Its jobs would wait for each other in more than {MOST_EDGES:,} pairs.",
        hint="Where many tasks side by side follow many tasks side by side, put one task between "
        "that sums up; or choose another ordering.",
    )
