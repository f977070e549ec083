"""Following an execution's log: the batches of one reader, whatever carries them away."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

from app.api.tails import Line, Tails
from app.bell import LOOK_EVERY, Bell, Waiter
from app.errors import Unavailable

CHECK_EVERY: Final = 60.0  # whether the viewer may still see this


class Follower:
    """One reader of one log, from a number on. It holds no connection while it waits.

    Iterating gives batches of lines as they come, and an empty one every few seconds. It ends by
    itself with the execution (`ended` then says how), when the process is told to end, or when the
    reader may no longer read.
    """

    __slots__ = ("_allowed", "_bell", "_execution", "_number", "_tails", "_waiter", "ended")

    def __init__(
        self,
        tails: Tails,
        bell: Bell,
        execution: uuid.UUID,
        number: int,
        allowed: Callable[[], bool],
    ) -> None:
        self.ended = ""
        self._tails = tails
        self._bell = bell
        self._execution = execution
        self._number = number
        self._allowed = allowed
        self._waiter: Waiter | None = None

    def wake(self) -> None:
        """Gives an empty batch now."""
        if self._waiter is not None:
            self._waiter.wake(None)

    def __iter__(self) -> Iterator[list[Line]]:
        with ExitStack() as stack:
            # Before the first look: what is committed after it rings.
            waiter = self._waiter = stack.enter_context(
                self._bell.waiting.for_news(self._execution)
            )
            tail = stack.enter_context(self._tails.watch(self._execution))
            checked_at = fresh = time.monotonic()
            while not self._bell.closing.is_set():
                try:
                    lines, self._number = tail.after(self._number, fresh)
                except Unavailable:
                    lines = []  # the stream outlives its database: it looks again in a while
                if lines:
                    yield lines
                    continue  # until nothing is left: only then it is known that all was told
                if tail.gone:
                    return
                if tail.ended and self._number >= tail.last:
                    self.ended = tail.status
                    return
                waiter.wait(LOOK_EVERY)
                now = time.monotonic()
                fresh = now if waiter.take_news() else now - LOOK_EVERY
                if now - checked_at >= CHECK_EVERY:
                    checked_at = now
                    if not self._may_go_on():
                        return
                yield []

    def _may_go_on(self) -> bool:
        try:
            return self._allowed()
        except Unavailable:
            return True  # it is asked again in a minute
