"""What drives the clock: each sweep at its interval, by the one clock that leads."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from apscheduler.events import EVENT_SCHEDULER_STARTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.blocking import BlockingScheduler

from app.leader import Leadership
from app.stopping import leave_by, stopping

log = logging.getLogger(__name__)

LEAD_SECONDS: Final = 1.0
LAST: Final = 25.0  # seconds for the sweeps that run when it is told to end


@dataclass(frozen=True, slots=True)
class Sweep:
    """One thing that must be looked at again and again; `run` says how much it found to do."""

    name: str
    seconds: float
    run: Callable[[], int]


Beat = Callable[[str, float, int], None]  # name, how long it took, how much it did


class Clockwork:
    """A scheduler that sweeps while its leadership holds."""

    def __init__(self, leadership: Leadership, sweeps: Sequence[Sweep], beat: Beat) -> None:
        self._leadership = leadership
        self._sweeps = sweeps
        self._beat = beat
        self._scheduler = BlockingScheduler(
            timezone=dt.UTC,
            executors={"default": ThreadPoolExecutor(4), "lead": ThreadPoolExecutor(1)},
            # After a pause of the machine a sweep runs once, late, and not once a miss.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def run(self) -> None:
        """Sweep until this process is told to end; the sweeps that run then are finished."""
        # Not before it has started: a scheduler that does not run cannot be told to end.
        end = threading.Thread(target=self._end_when_told, name="end", daemon=True)
        self._scheduler.add_listener(lambda _: end.start(), EVENT_SCHEDULER_STARTED)
        now = dt.datetime.now(dt.UTC)
        self._scheduler.add_job(
            self._lead, "interval", seconds=LEAD_SECONDS, executor="lead", next_run_time=now
        )
        for sweep in self._sweeps:
            # The first comes with the lead: a clock restarted daily would never sweep daily.
            self._scheduler.add_job(
                self._sweep, "interval", seconds=sweep.seconds, args=[sweep], id=sweep.name
            )
        try:
            self._scheduler.start()
        finally:
            self._leadership.give_up()

    def _end_when_told(self) -> None:
        stopping.wait()
        leave_by(LAST)
        self._scheduler.shutdown(wait=True)

    def _lead(self) -> None:
        led = self._leadership.held
        if self._leadership.seek() and not led:
            log.info("leads: %d sweeps", len(self._sweeps))
            now = dt.datetime.now(dt.UTC)
            for sweep in self._sweeps:
                self._scheduler.modify_job(sweep.name, next_run_time=now)

    def _sweep(self, sweep: Sweep) -> None:
        if not self._leadership.held or stopping.is_set():
            return
        started = time.monotonic()
        try:
            done = sweep.run()
            self._beat(sweep.name, time.monotonic() - started, done)
        except Exception:
            # The next one comes at its time; the beat that is missing tells the operator.
            log.exception("a sweep failed", extra={"sweep": sweep.name})
            return
        took = round(time.monotonic() - started, 3)
        level = logging.INFO if done else logging.DEBUG
        log.log(level, "swept", extra={"sweep": sweep.name, "done": done, "seconds": took})
