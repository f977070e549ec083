"""The bell: wakes waiting polls and readers, in every web process, through Redis pub/sub.

It is a hint. Who waits looks before sleeping and again by itself, so a lost ring costs seconds.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import orjson
import redis

from app.stopping import stopping

log = logging.getLogger(__name__)

CHANNEL: Final = "taskyard:bell"
NUDGE_EVERY: Final = 0.1  # readers may be this late, so that a busy run costs few messages
LOOK_EVERY: Final = 5.0
MOST_PASSED: Final = 16  # a ring that nobody wants would keep all who wait awake
RECONNECT: Final = (0.2, 5.0)


@dataclass(frozen=True, slots=True)
class Ring:
    """One job's worth of ringing in a lane, and how many have passed it on."""

    lane: str
    passed: int = 0


class Waiter:
    """Somebody asleep until a lane rings, or an execution has news."""

    __slots__ = ("_event", "lanes", "news", "rung")

    def __init__(self, lanes: Iterable[str]) -> None:
        self.lanes = tuple(lanes)
        self.rung: Ring | None = None
        self.news: set[uuid.UUID] = set()  # executions, until `take_news`
        self._event = threading.Event()

    def wake(self, ring: Ring | None = None) -> None:
        if ring is not None:
            self.rung = ring
        self._event.set()

    def take_ring(self) -> Ring | None:
        """What it was woken by, if by a lane: whoever takes it looks, or passes it on."""
        ring, self.rung = self.rung, None
        return ring

    def wait(self, seconds: float) -> bool:
        """True where it was rung. Afterwards it can wait again."""
        rung = self._event.wait(seconds)
        self._event.clear()
        return rung

    def take_news(self) -> set[uuid.UUID]:
        """The executions with news since the last time. One by one: they may come meanwhile."""
        taken: set[uuid.UUID] = set()
        while self.news:
            taken.add(self.news.pop())
        return taken


class Waiting:
    """Who waits in this process: by lane in order of arrival, and by execution."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, OrderedDict[Waiter, None]] = defaultdict(OrderedDict)
        self._readers: dict[uuid.UUID | None, set[Waiter]] = defaultdict(set)

    @contextmanager
    def for_work(self, lanes: Iterable[str]) -> Iterator[Waiter]:
        waiter = Waiter(lanes)
        with self._lock:
            for lane in waiter.lanes:
                self._lanes[lane][waiter] = None
        try:
            yield waiter
        finally:
            with self._lock:
                for lane in waiter.lanes:
                    self._lanes[lane].pop(waiter, None)
                    if not self._lanes[lane]:
                        del self._lanes[lane]

    @contextmanager
    def for_news(self, execution: uuid.UUID | None) -> Iterator[Waiter]:
        """None waits for news of any execution."""
        waiter = Waiter(())
        with self._lock:
            self._readers[execution].add(waiter)
        try:
            yield waiter
        finally:
            with self._lock:
                self._readers[execution].discard(waiter)
                if not self._readers[execution]:
                    del self._readers[execution]

    def ring(self, lane: str, jobs: int, passed: int = 0) -> None:
        """Wakes as many as there is work, longest waiting first: each goes behind the others."""
        with self._lock:
            queue = self._lanes.get(lane)
            woken: list[Waiter] = []
            while queue and len(woken) < jobs:
                waiter, _ = queue.popitem(last=False)
                woken.append(waiter)
            for waiter in woken:
                self._lanes[lane][waiter] = None
        for waiter in woken:
            waiter.wake(Ring(lane, passed))

    def pass_on(self, ring: Ring) -> None:
        """To the next in the queue; not more than once round, and not for ever."""
        with self._lock:
            others = len(self._lanes.get(ring.lane, ())) - 1
        if ring.passed < min(others, MOST_PASSED):
            self.ring(ring.lane, 1, ring.passed + 1)

    def news(self, executions: Iterable[uuid.UUID]) -> None:
        told = set(executions)
        with self._lock:
            woken = set(self._readers.get(None, ()))
            for waiter in woken:
                waiter.news |= told
            for execution in told:
                for waiter in self._readers.get(execution, ()):
                    waiter.news.add(execution)
                    woken.add(waiter)
        for waiter in woken:
            waiter.wake()

    def wake_all(self) -> None:
        with self._lock:
            woken = {waiter for queue in self._lanes.values() for waiter in queue}
            woken |= {waiter for readers in self._readers.values() for waiter in readers}
        for waiter in woken:
            waiter.wake()

    def lanes(self) -> list[str]:
        with self._lock:
            return list(self._lanes)


class Bell:
    """Rings in this process at once and in the others through Redis; hears what they ring.

    `look` says how many jobs are on offer in given lanes: one question a process every few seconds,
    for all who wait in it, in place of one from each.
    """

    def __init__(self, url: str, look: Callable[[list[str]], dict[str, int]] | None = None) -> None:
        self.waiting = Waiting()
        self.closing = stopping
        self.deaf = False  # what other processes ring is not heard now
        self._me = uuid.uuid4().hex
        self._look = look
        self._redis = redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
        self._listener = redis.Redis.from_url(url, socket_connect_timeout=1)
        self._rings: Counter[str] = Counter()
        self._rung = threading.Event()
        self._news: set[uuid.UUID] = set()
        self._lock = threading.Lock()
        self._quiet_until = 0.0
        self._threads: list[threading.Thread] = []

    def ring(self, lanes: dict[str, int]) -> None:
        for lane, jobs in lanes.items():
            self.waiting.ring(lane, jobs)
        with self._lock:
            self._rings.update(lanes)
        # Who rings may serve everybody: a Redis that hangs must not hold them up.
        if self._threads:
            self._rung.set()
        else:  # a process that only rings has no thread that would do it
            self._send_rings()

    def _send_rings(self) -> None:
        with self._lock:
            lanes, self._rings = self._rings, Counter()
        if lanes:
            self._publish({"from": self._me, "lanes": lanes})

    def nudge(self, executions: set[uuid.UUID]) -> None:
        with self._lock:
            self._news |= executions
        if not self._threads:  # a process that only rings has no thread that would tell it later
            self._tell_news()

    def _tell_news(self) -> None:
        with self._lock:
            news, self._news = self._news, set()
        if news:
            self.waiting.news(news)
            self._publish({"from": self._me, "news": [str(one) for one in news]})

    def _publish(self, message: dict[str, object]) -> None:
        if time.monotonic() < self._quiet_until:
            return
        try:
            self._redis.publish(CHANNEL, orjson.dumps(message))
        except (redis.RedisError, OSError) as fault:
            self._quiet_until = time.monotonic() + 1.0
            log.warning("the bell is out of reach: %s", fault)

    def listen(self) -> None:
        """Starts hearing, in threads of their own (greenlets, where threads are patched)."""
        tasks = (
            self._hear_for_ever,
            self._ring_for_ever,
            self._tell_for_ever,
            self._look_for_ever,
            self._wake_at_end,
        )
        for task in tasks:
            thread = threading.Thread(target=task, name=f"bell {task.__name__}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _wake_at_end(self) -> None:
        """Everybody who waits is woken, to answer and go home."""
        self.closing.wait()
        self.waiting.wake_all()

    def _hear_for_ever(self) -> None:
        pause = RECONNECT[0]
        while not self.closing.is_set():
            try:
                with self._listener.pubsub(  # type: ignore[no-untyped-call]  # redis-py leaves it bare
                    ignore_subscribe_messages=True
                ) as channel:
                    channel.subscribe(CHANNEL)
                    pause = RECONNECT[0]
                    self.deaf = False
                    # What rang while nobody listened is found by looking.
                    self._look_once()
                    while not self.closing.is_set():
                        message = channel.get_message(timeout=1.0)
                        if message is not None:
                            self._hear(message["data"])
            except (redis.RedisError, OSError) as fault:
                self.deaf = True
                log.warning("the bell cannot be heard, looking now and then: %s", fault)
                self.closing.wait(pause)
                pause = min(pause * 2, RECONNECT[1])

    def _hear(self, data: bytes) -> None:
        try:
            message = orjson.loads(data)
            if message["from"] == self._me:
                return
            for lane, jobs in message.get("lanes", {}).items():
                self.waiting.ring(lane, jobs)
            self.waiting.news(uuid.UUID(one) for one in message.get("news", ()))
        except (orjson.JSONDecodeError, KeyError, ValueError, TypeError, AttributeError):
            log.warning("the bell rang something that is no ring")

    def _ring_for_ever(self) -> None:
        while True:
            self._rung.wait()
            self._rung.clear()
            self._send_rings()

    def _tell_for_ever(self) -> None:
        while not self.closing.wait(NUDGE_EVERY):
            self._tell_news()

    def _look_for_ever(self) -> None:
        while not self.closing.wait(LOOK_EVERY):
            self._look_once()

    def _look_once(self) -> None:
        lanes = self.waiting.lanes()
        if self._look is None or not lanes:
            return
        try:
            found = self._look(lanes)
        except Exception as fault:  # noqa: BLE001  # the next look comes in any case
            log.warning("could not look for work: %s", fault)
            return
        for lane, jobs in Counter(found).items():
            self.waiting.ring(lane, jobs)
