"""The web process: gunicorn's gevent worker, which ends waiting requests when it is told to end."""

from __future__ import annotations

import logging
from types import FrameType
from typing import Any

import gevent
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.ggevent import GeventWorker

# Nothing here may import what opens sockets or takes locks: the master loads this before gevent
# patches the workers.


class Worker(GeventWorker):
    """On SIGTERM: says so to long polls and streams, and lets idle connections go at once.

    gunicorn's own waits for every idle keep-alive connection, up to the graceful timeout.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: set[_Idle] = set()

    def timeout_ctx(self) -> gevent.Timeout:  # type: ignore[override] # its stub says None
        return _Idle(self.cfg.keepalive, self._idle, ending=not self.alive)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._tell)

    def _tell(self) -> None:
        from app.stopping import stopping

        stopping.set()
        for idle in list(self._idle):
            idle.hurry()


class _Idle(gevent.Timeout):
    """The wait for the next request on a connection. It ends by itself, never inside a request."""

    def __init__(self, seconds: float, among: set[_Idle], *, ending: bool) -> None:
        # False: the wait just ends, nothing is raised.
        super().__init__(0 if ending else seconds, False)  # type: ignore[arg-type]
        self._among = among
        self._waiter = gevent.getcurrent()
        self._soon: Any = None

    def __enter__(self) -> Any:
        self._among.add(self)
        return super().__enter__()

    def __exit__(self, *about: Any) -> Any:
        self._among.discard(self)
        if self._soon is not None:
            self._soon.close()
        return super().__exit__(*about)

    def hurry(self) -> None:
        # A timer, not a kill: when a request has just come, the timer ends with the wait.
        self._soon = gevent.get_hub().loop.timer(0.0)
        self._soon.start(self._waiter.throw, self)


class Words(Logger):
    """gunicorn's words go the way of ours. The app says itself what a request did."""

    def setup(self, cfg: Config) -> None:
        self.cfg = cfg
        for log in (self.error_log, self.access_log):
            log.handlers[:] = []
        self.error_log.propagate = True
        self.error_log.setLevel(logging.NOTSET)
        self.access_log.propagate = False
        self.access_log.disabled = True
