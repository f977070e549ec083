"""What streams share: every reader gets every line once, in order, from few looks."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from app.api import tails
from app.api.following import Follower
from app.api.tails import Line, Look, Tail, Tails
from app.bell import Bell
from app.db import Database
from tests.executions.stages import claim, report
from tests.fresh import Key, People
from tests.handoff.runs import make_run

BATCH = 3


class Written(Tail):
    """A tail of a log in memory, read in small batches."""

    def __init__(self) -> None:
        super().__init__(cast(Any, None), uuid.uuid4())
        self.log: list[Line] = []
        self.state = "running"
        self.looks = 0

    def write(self, lines: int) -> None:
        for _ in range(lines):
            number = len(self.log) + 1
            self.log.append(Line(number, "log", b"x" * 10))

    def _read(self, number: int) -> Look:
        self.looks += 1
        return Look(self.log[number : number + BATCH], self.state, len(self.log))


class Reader:
    def __init__(self, tail: Written, number: int) -> None:
        self.tail, self.start, self.number = tail, number, number
        self.read: list[int] = []

    def look(self, fresh: float) -> None:
        lines, self.number = self.tail.after(self.number, fresh)
        self.read += [line.number for line in lines]

    def catch_up(self) -> None:
        while self.number < len(self.tail.log):
            before = self.number
            self.look(time.monotonic())
            assert self.number > before, "a reader that is behind gets nothing"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(1, 9)),
            st.tuples(st.just("come"), st.integers(0, 30)),
            st.tuples(st.just("fresh"), st.integers(0, 5)),
            st.tuples(st.just("stale"), st.integers(0, 5)),
        ),
        max_size=40,
    )
)
def test_every_reader_gets_every_line_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    tail = Written()
    readers: list[Reader] = []
    for step, how in steps:
        if step == "write":
            tail.write(how)
        elif step == "come":
            readers.append(Reader(tail, min(how, len(tail.log))))
        elif readers:
            fresh = time.monotonic() if step == "fresh" else float("-inf")
            readers[how % len(readers)].look(fresh)
    for reader in readers:
        reader.catch_up()
        assert reader.read == list(range(reader.start + 1, len(tail.log) + 1))


def test_a_tail_keeps_no_more_than_it_may(monkeypatch: Any) -> None:
    monkeypatch.setattr(tails, "KEPT_LINES", 4)
    tail = Written()
    first, late = Reader(tail, 0), Reader(tail, 0)
    for _ in range(10):
        tail.write(2)
        first.catch_up()
    assert len(tail._lines) == 4
    late.catch_up()
    assert late.read == first.read


def test_what_many_readers_wake_for_is_read_a_few_times() -> None:
    tail = Written()
    tail.write(2)
    readers = [Reader(tail, 0) for _ in range(500)]
    woken = time.monotonic()
    for reader in readers:
        reader.look(woken)
    for reader in readers:
        reader.look(woken)
    assert all(reader.read == [1, 2] for reader in readers)
    assert tail.looks == 1


def test_readers_that_come_back_from_the_future_wait(database: Database, member: Key) -> None:
    made = make_run(database, member.id, {"a": []})
    with Tails(database).watch(made.id) as tail:
        lines, number = tail.after(1000, time.monotonic())
        assert (lines, number) == ([], 1000)
        lines, number = tail.after(0, float("-inf"))
        assert [line.number for line in lines] == [1, 2]


def test_a_tail_that_nobody_watches_is_forgotten(database: Database) -> None:
    kept = Tails(database)
    execution = uuid.uuid4()
    with kept.watch(execution) as one, kept.watch(execution) as other:
        assert one is other
    assert not kept._tails


def test_followers_in_threads_all_see_the_whole_run(
    database: Database, people: People, member: Key, app: Any
) -> None:
    made = make_run(database, member.id, {str(number): [] for number in range(20)})
    bell: Bell = app.extensions["taskyard.bell"]
    kept = Tails(database)
    seen: list[list[int]] = [[] for _ in range(20)]

    def follow(place: int) -> None:
        for lines in Follower(kept, bell, made.id, 0, lambda: True):
            seen[place] += [line.number for line in lines]

    threads = [threading.Thread(target=follow, args=(place,)) for place in range(len(seen))]
    for thread in threads:
        thread.start()
    agent = people.agent()
    piece: Any = claim(agent)
    while piece:
        given_ = report(agent, made, piece, "completed", next_one=True)
        piece = given_["work"][0] if given_["work"] else None
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    last = member.get(f"/api/executions/{made.id}").json["last_event"]
    assert all(one == list(range(1, last + 1)) for one in seen)
