"""Server-sent events: resumed without a gap, ended when it is time, told to nobody else."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.api import following, streams
from app.db import Database
from app.settings import Settings
from tests.executions.sse import Sent, listening, parse
from tests.executions.stages import claim, report, run_in, work_off
from tests.fresh import Key, People
from tests.handoff.runs import MadeRun, make_run
from tests.served import Serve, serving


def stream_of(made: MadeRun) -> str:
    return f"/api/executions/{made.id}/events/stream"


def read_here(key: Key, path: str, **headers: str) -> Iterator[Sent]:
    """The stream through the test client: its generator runs in this very thread."""
    answer = key.get(path, headers=headers, buffered=False)
    assert answer.status_code == 200, answer.text
    return parse(chunk.decode() for chunk in answer.iter_encoded())


def test_an_ended_execution_is_told_from_the_first_event_to_the_end(
    database: Database, people: People, member: Key
) -> None:
    made = run_in(database, people, member.id, "completed")
    sent = list(read_here(member, stream_of(made)))
    told = member.get(f"/api/executions/{made.id}/events").json["items"]
    assert [one.id for one in sent[:-1]] == [one["number"] for one in told]
    assert [one.event for one in sent[:-1]] == [one["type"] for one in told]
    assert [one.data for one in sent[:-1]] == told, "a stream tells what a page tells"
    assert sent[-1] == Sent(None, "end", {"status": "completed"})


def test_last_event_id_wins_over_the_address(
    database: Database, people: People, member: Key
) -> None:
    made = run_in(database, people, member.id, "completed")
    path = f"{stream_of(made)}?after=2"
    assert next(read_here(member, path)).id == 3
    # A browser comes back to the same address, with the header of what it saw last.
    assert next(read_here(member, path, **{"Last-Event-ID": "5"})).id == 6


def test_who_comes_back_after_the_end_is_told_to_stay_away(
    database: Database, people: People, member: Key
) -> None:
    made = run_in(database, people, member.id, "cancelled")
    last = member.get(f"/api/executions/{made.id}").json["last_event"]
    headers = {"Last-Event-ID": str(last)}
    assert member.get(stream_of(made), headers=headers).status_code == 204
    assert [one.event for one in read_here(member, f"{stream_of(made)}?after={last}")] == ["end"]


@pytest.mark.parametrize("told", ["abc", "-1", "1.5", "9" * 20, "9" * 5000, "٣"])
def test_a_last_event_id_that_is_none_is_refused(
    database: Database, member: Key, told: str
) -> None:
    made = make_run(database, member.id, {"a": []})
    answer = member.get(stream_of(made), headers={"Last-Event-ID": told})
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"][0]["pointer"] == "Last-Event-ID"


def test_a_silent_stream_says_that_it_is_still_there(
    database: Database, member: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(streams, "BEAT_EVERY", 0.05)
    made = make_run(database, member.id, {"a": []})
    answer = member.get(stream_of(made), buffered=False)
    chunks = [chunk for _, chunk in zip(range(5), answer.iter_encoded(), strict=False)]
    answer.close()
    assert chunks[0] == streams.BEGIN
    assert chunks[2:] == [streams.BEAT] * 3


@pytest.mark.parametrize("by", ["unsharing", "revoking", "deactivating"])
def test_a_stream_ends_when_its_reader_may_no_longer_read(
    database: Database,
    people: People,
    member: Key,
    admin: Key,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    monkeypatch.setattr(following, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(following, "CHECK_EVERY", 0.04)
    made = make_run(database, member.id, {"a": []})
    friend = people.user("member")
    shares = f"/api/executions/{made.id}/shares"
    member.post(shares, {"user_id": str(friend.id)})
    sent = read_here(friend, stream_of(made))
    assert [next(sent).id, next(sent).id] == [1, 2]
    if by == "unsharing":
        member.delete(f"{shares}?user_id={friend.id}")
    elif by == "revoking":
        admin.delete(f"/api/admin/tokens/{friend.token_id}")
    else:
        admin.patch(f"/api/admin/users/{friend.id}", {"active": False})
    assert list(sent) == [], "it ends, and not as an execution ends"


def test_a_stream_outlives_its_database(
    database: Database, member: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection lost in the middle is no reason to send every viewer away."""
    monkeypatch.setattr(following, "LOOK_EVERY", 0.02)
    made = make_run(database, member.id, {"a": []})
    sent = read_here(member, stream_of(made))
    assert next(sent).id == 1
    real = database.transaction
    faults = iter([True, True])

    def failing() -> Any:
        if next(faults, None):
            monkeypatch.setattr(database, "transaction", real)
            from app.errors import Unavailable

            raise Unavailable("The database cannot be reached; try again in a moment.")
        return real()

    monkeypatch.setattr(database, "transaction", failing)
    assert next(sent).id == 2
    monkeypatch.setattr(database, "transaction", real)
    member.patch(f"/api/executions/{made.id}", {"action": "cancel"})
    assert [one.event for one in sent][-1] == "end"


def test_it_is_resumed_without_a_gap_while_others_write(
    database: Database, people: People, member: Key, server: Serve
) -> None:
    """Cut at any moment, against either of two processes, while four agents write through both."""
    url = server(workers=2)
    made = make_run(database, member.id, {str(number): [] for number in range(120)})
    agents = [people.agent() for _ in range(4)]
    workers = [threading.Thread(target=work_over_http, args=(url, agent, made)) for agent in agents]
    dice = random.Random(11)
    read: list[int] = []
    connections = 0
    for worker in workers:
        worker.start()
    ended = False
    while not ended:
        connections += 1
        last = read[-1] if read else None
        patience = dice.randint(1, 25) if connections < 40 else 10_000
        with listening(url + stream_of(made), member, last=last) as sent:
            for one in sent:
                if one.event == "end":
                    ended = True
                    break
                assert one.id is not None
                read.append(one.id)
                patience -= 1
                if patience == 0:
                    break
    for worker in workers:
        worker.join()
    assert read == list(range(1, len(read) + 1))
    assert len(read) == member.get(f"/api/executions/{made.id}").json["last_event"]
    assert connections > 5


def work_over_http(url: str, agent: Key, made: MadeRun) -> None:
    with httpx.Client(base_url=url, headers=agent.headers, timeout=20) as client:
        answer = client.get(f"/api/agents/{agent.id}/work")
        work = answer.json()["work"] if answer.status_code == 200 else []
        while work:
            [piece] = work
            told = {"job_id": piece["job"]["id"], "token": piece["lease"]["token"]}
            path = f"/api/executions/{made.id}/events"
            client.post(path, json={"type": "progress", "percent": 50, **told})
            answer = client.post(f"{path}?next=1", json={"type": "completed", **told})
            assert answer.status_code == 201, answer.text
            work = answer.json()["work"]


def test_what_happens_in_another_process_is_told_at_once(
    database: Database, people: People, member: Key, server: Serve
) -> None:
    writer, url = server(workers=1), server(workers=1)
    made = make_run(database, member.id, {"a": []})
    agent = people.agent()
    with listening(url + stream_of(made), member) as sent:
        assert [next(sent).event, next(sent).event] == ["execution_queued", "job_ready"]
        began = time.monotonic()
        httpx.get(f"{writer}/api/agents/{agent.id}/work", headers=agent.headers)
        assert next(sent).event == "execution_running"
        assert time.monotonic() - began < 1.5, "it waited for somebody to look"


def test_a_server_that_is_told_to_end_ends_its_streams(
    database: Database, member: Key, migrated: Settings
) -> None:
    made = make_run(database, member.id, {"a": []})
    with serving(migrated, workers=1) as served, serving(migrated, workers=1) as other:
        with (
            listening(served.url + stream_of(made), member) as sent,
            listening(served.url + "/api/events/stream", member) as hints,
        ):
            assert next(sent).id == 1
            began = time.monotonic()
            code = served.process.end()
            assert code == 0
            assert time.monotonic() - began < 10, "it waited for its graceful timeout"
            assert [one.event for one in sent] == ["job_ready"], "no end: the execution goes on"
            assert list(hints) == []
        with listening(other.url + stream_of(made), member, last=1) as sent:
            assert next(sent).id == 2


def test_hints_name_what_changed_and_only_what_one_may_see(
    database: Database, people: People, member: Key, operator: Key, server: Serve
) -> None:
    url = server(workers=1) + "/api/events/stream"
    stranger, agent = people.user("member"), people.agent()
    mine = make_run(database, member.id, {"a": []})
    theirs = make_run(database, stranger.id, {"a": []})
    piece = claim(agent)
    held, other = (mine, theirs) if piece["execution_id"] == str(mine.id) else (theirs, mine)
    found: dict[str, set[str]] = {}

    def listen(name: str, key: Key, ready: threading.Barrier) -> None:
        with listening(url, key, timeout=8) as sent:
            ready.wait()
            found[name] = set()
            try:
                for one in sent:
                    assert one.event == "changed"
                    found[name].add(one.data["execution_id"])
            except httpx.ReadTimeout:
                pass

    keys = {"member": member, "stranger": stranger, "operator": operator, "agent": agent}
    ready = threading.Barrier(len(keys) + 1)
    threads = [threading.Thread(target=listen, args=(*one, ready)) for one in keys.items()]
    for thread in threads:
        thread.start()
    ready.wait(20)
    time.sleep(0.3)  # their generators have sent the first bytes; the next line is their wait
    report(agent, held, piece, "progress", percent=1)
    operator.patch(f"/api/executions/{other.id}", {"action": "pause"})
    for thread in threads:
        thread.join()
    assert found == {
        "member": {str(mine.id)},
        "stranger": {str(theirs.id)},
        "operator": {str(mine.id), str(theirs.id)},
        "agent": {str(held.id)},
    }


@pytest.mark.slow
def test_without_redis_a_stream_is_late_and_whole(
    database: Database, people: People, member: Key, server: Serve
) -> None:
    url = server(workers=1, REDIS_URL="redis://127.0.0.1:1")
    made = make_run(database, member.id, {"a": []})
    with (
        listening(url + stream_of(made), member) as sent,
        listening(url + "/api/events/stream", member) as hints,
    ):
        assert [next(sent).id, next(sent).id] == [1, 2]
        work_off(people.agent(), made)
        assert [one.id for one in sent][:-1] == [3, 4, 5, 6]
        assert next(hints) == Sent(None, "look", {})
