"""The graph between jobs: circles by their path, orders, what gives way, ranks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Refused
from app.plans import graph as graphs
from app.plans.graph import JobGraph, Link, Tree, expand, find_circles, find_cycle
from app.plans.schedule import fill_days, mean_days, rank_jobs

ORDERINGS = ("phased", "strict", "free")


def plan(*shape: Iterable[int]) -> Tree:
    """A plan by the number of subtasks of each task of each phase: plan([2, 0], [1])."""
    nodes: list[tuple[str, str | None]] = []
    for phase, tasks in enumerate(shape, 1):
        nodes.append((f"{phase}", None))
        for task, subtasks in enumerate(tasks, 1):
            nodes.append((f"{phase}.{task}", f"{phase}"))
            nodes += [(f"{phase}.{task}.{k}", f"{phase}.{task}") for k in range(1, subtasks + 1)]
    return Tree(nodes)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Tree, list[Link]]:
    """A plan and explicit dependencies among its nodes that close no circle."""
    tree = plan(*draw(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=5)))
    code = st.sampled_from(tree.codes)
    dependencies: list[Link] = []
    for waits, awaited in draw(st.lists(st.tuples(code, code), max_size=25)):
        if waits == awaited or tree.related(waits, awaited):
            continue
        if not find_circles(tree, [*dependencies, (waits, awaited)]):
            dependencies.append((waits, awaited))
    return tree, dependencies


def jobs_under(tree: Tree, code: str) -> set[str]:
    node = tree.number[code]
    return {tree.codes[leaf] for leaf in tree.leaves() if node == leaf or node in tree.above(leaf)}


def everything_before(graph: JobGraph) -> dict[str, set[str]]:
    before: dict[str, set[str]] = {}
    for job in graph.sequence:
        before[job] = set(graph.needs[job]).union(*(before[each] for each in graph.needs[job]))
    return before


@given(plans(), st.sampled_from(ORDERINGS))
def test_a_job_graph_closes_no_circle_and_misses_no_job(
    given_plan: tuple[Tree, list[Link]], ordering: str
) -> None:
    tree, dependencies = given_plan
    graph = expand(tree, dependencies, ordering)
    assert sorted(graph.sequence) == sorted(tree.codes[leaf] for leaf in tree.leaves())
    assert find_cycle(graph.needs) is None
    place = {job: number for number, job in enumerate(graph.sequence)}
    assert all(place[awaited] < place[job] for job, awaited in graph.edges())
    assert all(len(before) == len(set(before)) for before in graph.needs.values())


@given(plans(), st.sampled_from(ORDERINGS))
def test_every_explicit_dependency_holds_for_all_the_jobs_under_it(
    given_plan: tuple[Tree, list[Link]], ordering: str
) -> None:
    tree, dependencies = given_plan
    before = everything_before(expand(tree, dependencies, ordering))
    for waits, awaited in dependencies:
        for job in jobs_under(tree, waits):
            assert jobs_under(tree, awaited) <= before[job]


@given(plans())
def test_free_has_only_what_explicit_dependencies_say(
    given_plan: tuple[Tree, list[Link]],
) -> None:
    tree, dependencies = given_plan
    graph = expand(tree, dependencies, "free")
    said = {
        (job, awaited)
        for waits, before in dependencies
        for job in jobs_under(tree, waits)
        for awaited in jobs_under(tree, before)
    }
    assert set(graph.edges()) <= said
    assert graph.dropped == []


@given(plans(), st.sampled_from(("phased", "strict")))
def test_neighbours_keep_their_order_unless_it_is_told_as_dropped(
    given_plan: tuple[Tree, list[Link]], ordering: str
) -> None:
    tree, dependencies = given_plan
    graph = expand(tree, dependencies, ordering)
    before = everything_before(graph)
    for group in tree.groups(graphs.IN_ORDER[ordering]):
        for first, then in pairwise(group):
            pair = tree.codes[first], tree.codes[then]
            holds = all(
                jobs_under(tree, pair[0]) <= before[job] for job in jobs_under(tree, pair[1])
            )
            assert holds or pair in graph.dropped


@given(plans(), st.sampled_from(("phased", "strict")))
def test_the_plans_order_gives_way_only_to_a_contradiction(
    given_plan: tuple[Tree, list[Link]], ordering: str
) -> None:
    """What was dropped would close a circle with what was kept."""
    tree, dependencies = given_plan
    graph = expand(tree, dependencies, ordering)
    before = everything_before(graph)
    for first, then in graph.dropped:
        assert any(
            jobs_under(tree, then) & (before[job] | {job}) for job in jobs_under(tree, first)
        )


@given(plans(), st.sampled_from(ORDERINGS), st.data())
def test_a_rank_is_the_longest_path_behind_a_job(
    given_plan: tuple[Tree, list[Link]], ordering: str, data: st.DataObject
) -> None:
    tree, dependencies = given_plan
    graph = expand(tree, dependencies, ordering)
    known = [data.draw(st.none() | st.floats(0.1, 100)) for _ in tree.codes]
    days = dict(zip(tree.codes, fill_days(tree, known), strict=True))
    ranks = rank_jobs(graph, days)
    longest = {job: days[job] for job in graph.sequence}
    for job in reversed(graph.sequence):
        behind = [ranks[after] for after in graph.sequence if job in graph.needs[after]]
        longest[job] += max(behind, default=0)
    assert ranks == pytest.approx(longest)
    assert all(ranks[awaited] > ranks[job] for job, awaited in graph.edges())


def test_phased_puts_phases_and_subtasks_in_order_and_tasks_side_by_side() -> None:
    graph = expand(plan([2, 2], [1, 0]), [], "phased")
    assert graph.needs == {
        "1.1.1": [],
        "1.1.2": ["1.1.1"],
        "1.2.1": [],
        "1.2.2": ["1.2.1"],
        "2.1.1": ["1.1.2", "1.2.2"],
        "2.2": ["1.1.2", "1.2.2"],
    }


def test_strict_puts_everything_in_order() -> None:
    graph = expand(plan([2, 1], [1]), [], "strict")
    assert graph.needs == {
        "1.1.1": [],
        "1.1.2": ["1.1.1"],
        "1.2.1": ["1.1.2"],
        "2.1.1": ["1.2.1"],
    }


def test_free_lets_everything_begin() -> None:
    assert list(expand(plan([2, 2], [2]), [], "free").edges()) == []


def test_only_the_first_and_the_last_children_touch_what_stands_around_them() -> None:
    graph = expand(plan([3], [3]), [("2.1", "1.1")], "phased")
    assert graph.needs["2.1.1"] == ["1.1.3"]
    assert graph.needs["2.1.3"] == ["2.1.2"]


def test_an_explicit_dependency_overrules_the_plans_order_and_the_rest_of_it_holds() -> None:
    graph = expand(plan([0], [0], [0], [0]), [("2", "3")], "phased")
    assert graph.dropped == [("2", "3")]
    before = everything_before(graph)
    assert before["3.1"] == {"1.1"}
    assert before["2.1"] == {"1.1", "3.1"}
    assert before["4.1"] == {"1.1", "2.1", "3.1"}


def test_a_part_that_waits_for_a_later_phase_frees_that_phase_alone() -> None:
    graph = expand(plan([1, 1], [1, 1], [1]), [("1.2", "2.1")], "phased")
    assert graph.dropped == [("1", "2")]
    before = everything_before(graph)
    assert before["2.2.1"] == set()
    assert before["1.2.1"] == {"2.1.1"}
    assert before["3.1.1"] == {"1.1.1", "1.2.1", "2.1.1", "2.2.1"}


def test_subtasks_keep_their_order_around_one_that_waits_for_another_task() -> None:
    graph = expand(plan([3, 2]), [("1.1.2", "1.2.2")], "phased")
    assert graph.dropped == []
    assert graph.needs["1.1.2"] == ["1.1.1", "1.2.2"] or graph.needs["1.1.2"] == ["1.2.2", "1.1.1"]
    assert graph.needs["1.1.3"] == ["1.1.2"]


def test_a_circle_is_named_by_its_path() -> None:
    assert find_cycle({"a": ["b"], "b": ["a"]}) == ["a", "b", "a"]
    assert find_cycle({"a": ["a"]}) == ["a", "a"]
    assert find_cycle({"a": ["b", "c"], "b": ["c"], "c": []}) is None
    circles = find_circles(plan([2]), [("1.1.2", "1.1.1"), ("1.1.1", "1.1.2")])
    assert [str(circle) for circle in circles] == ["1.1.1 → 1.1.2 → 1.1.1"]
    assert circles[0].links == (0, 1)


def test_a_circle_through_a_whole_and_its_parts_is_found() -> None:
    circles = find_circles(plan([1], [1]), [("1", "2.1"), ("2", "1.1")])
    assert [str(circle) for circle in circles] == ["1 → 2.1 → 2 → 1.1 → 1"]


def test_separate_circles_are_told_at_once() -> None:
    links = [("1.1", "1.2"), ("1.2", "1.1"), ("2.1", "2.2"), ("2.2", "2.1")]
    circles = find_circles(plan([0, 0], [0, 0]), links)
    assert [str(circle) for circle in circles] == ["1.1 → 1.2 → 1.1", "2.1 → 2.2 → 2.1"]


def test_ten_thousand_things_in_a_row_do_not_overrun_the_stack() -> None:
    row = {str(place): [str(place + 1)] for place in range(10_000)}
    assert find_cycle(row) is None
    assert find_cycle({**row, "10000": ["0"]}) is not None


def test_too_many_pairs_are_refused_before_they_fill_the_memory() -> None:
    with pytest.raises(Refused, match="250,000 pairs"):
        expand(plan([0] * 600, [0] * 600), [], "phased")


def test_an_estimate_that_leaves_something_out_takes_it_to_be_as_likely() -> None:
    assert mean_days(1, 2, 9) == 3
    assert mean_days(None, 2, None) == 2
    assert mean_days(2, None, 4) == 3
    assert mean_days(None, None, None) is None


def test_unknown_days_are_the_median_of_the_siblings_or_a_share_of_the_whole() -> None:
    tree = plan([0, 0, 0], [3])
    known = dict.fromkeys(tree.codes) | {"1.1": 2.0, "1.2": 4.0, "2.1": 6.0}
    days = dict(zip(tree.codes, fill_days(tree, list(known.values())), strict=True))
    assert days["1.3"] == 3.0
    assert days["2.1.2"] == 2.0
    assert fill_days(plan([0]), [None, None]) == [1.0, 1.0]
