"""The load generator: one process, one epoll loop, many agents. Reads its orders on stdin (JSON),
writes what it saw on stdout (JSON).

A run is: warm-up, then the measured time, then every request under way is answered, no other sent.
"""

import gc
import json
import resource
import select
import sys
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from statistics import fmean
from time import perf_counter
from typing import Any

from bench.callers import Caller, NextCaller, PacedCaller, Relay, RelayCaller, Tally, TurnCaller
from bench.wire import Connection

DRAIN = 3.0


@dataclass(slots=True)
class Loop:
    """`dry` is how many empty answers in a row, over all agents, mean that the work has run out."""

    port: int
    callers: list[Caller]
    tally: Tally
    dry: int

    def run(self) -> None:
        poll = select.epoll()
        by_fd: dict[int, tuple[Connection, Caller]] = {}
        waiting: list[tuple[float, int, bytes]] = []
        busy: set[int] = set()
        for caller in self.callers:
            connection = Connection(self.port)
            fd = connection.socket.fileno()
            by_fd[fd] = (connection, caller)
            poll.register(fd, select.EPOLLIN)
        for fd, (_, caller) in by_fd.items():
            request, delay = caller.begin()
            heappush(waiting, (perf_counter() + delay, fd, request))
        tally, until = self.tally, self.tally.until
        while busy or waiting:
            now = perf_counter()
            if now > until + DRAIN:
                break
            while waiting and waiting[0][0] <= now:
                _, fd, request = heappop(waiting)
                connection, caller = by_fd[fd]
                connection.send(request)
                caller.sent(perf_counter())
                busy.add(fd)
            pause = max(0.0, waiting[0][0] - perf_counter()) if waiting else 0.2
            for fd, _ in poll.poll(pause):
                connection, caller = by_fd[fd]
                answer = connection.receive()
                if answer is None:
                    continue
                busy.discard(fd)
                then = caller.answered(*answer)
                now = perf_counter()
                if then is None or now >= until or tally.empty_in_a_row > self.dry:
                    continue
                request, delay = then
                if delay:
                    heappush(waiting, (now + delay, fd, request))
                else:
                    connection.send(request)
                    caller.sent(now)
                    busy.add(fd)
            if perf_counter() >= until or tally.empty_in_a_row > self.dry:
                waiting.clear()
        for connection, _ in by_fd.values():
            connection.close()


@dataclass(frozen=True, slots=True)
class Times:
    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


def times(seconds: list[float]) -> Times:
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 3)

    return Times(len(ordered), round(fmean(ordered) * 1000, 3), at(0.5), at(0.9), at(0.99))


def callers(order: dict[str, Any], tally: Tally) -> list[Caller]:
    agents: list[tuple[str, str]] = [(one["id"], one["key"]) for one in order["agents"]]
    match order["kind"]:
        case "next":
            return [NextCaller(tally, *agent) for agent in agents]
        case "turns":
            return [TurnCaller(tally, *agent, batch=order["batch"]) for agent in agents]
        case "paced":
            return [PacedCaller(tally, *agent, pause=order["pause"]) for agent in agents]
        case "relay":
            made: list[Caller] = []
            for first, second in zip(agents[::2], agents[1::2], strict=True):
                relay = Relay()
                made += [RelayCaller(tally, *one, relay, order["think"]) for one in (first, second)]
            return made
        case other:
            raise ValueError(f"no agents of the kind {other}")


def main() -> None:
    order = json.load(sys.stdin)
    since = perf_counter() + order["warmup"]
    tally = Tally(since=since, until=since + order["seconds"])
    loop = Loop(order["port"], callers(order, tally), tally, dry=6 * len(order["agents"]))
    gc.collect()
    gc.disable()
    loop.run()
    used = resource.getrusage(resource.RUSAGE_SELF)
    ran_dry = tally.empty_in_a_row > loop.dry
    measured = (tally.last if ran_dry else tally.until) - since
    json.dump(
        {
            "jobs": tally.jobs,
            "acknowledged": tally.acknowledged,
            "seconds": round(measured, 3),
            "per_second": round(tally.jobs / measured, 1) if measured > 0 else 0.0,
            "times": {what: asdict(times(seconds)) for what, seconds in tally.seconds.items()},
            "empty_answers": tally.empty,
            "ran_dry": ran_dry,
            "refused": tally.refused,
            "first_refusal": tally.first_refusal,
            "generator_cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
