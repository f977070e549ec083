"""The counter, where agents' calls queue up: one clerk a process serves all who stand there.

A transaction for several calls costs little more than one for one: its locks are held for one short
while, its statements and its flush to disk are shared. Under load that triples the hand-offs; when
it is quiet, a call is alone in its batch and nobody waits for anybody.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app.agents.calling import Draw
from app.db import Database
from app.errors import TaskyardError, Unavailable
from app.handoff.calls import Answers, Call, Later
from app.handoff.desk import serve
from app.handoff.terms import Terms

log = logging.getLogger(__name__)

CLERKS: Final = 2  # one may stand waiting for an execution in other hands
MOST_CALLS: Final = 32
MOST_WISHED: Final = 100  # jobs that one batch hands out at the most, give or take a call
MOST_KNOWN: Final = 10_000


class Ticket:
    """A call that waits for its answer."""

    __slots__ = ("answer", "call", "done")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.done = threading.Event()
        self.answer: Answers | Exception | None = None


class Counter:
    def __init__(self, database: Database, terms: Terms) -> None:
        self.database = database
        self.terms = terms
        self._queue: deque[Ticket] = deque()
        self._called = threading.Event()
        self._lock = threading.Lock()
        self._clerks: list[threading.Thread] = []
        # What lanes a key was last seen to draw from: a guess, which the desk checks.
        self._known: OrderedDict[bytes, tuple[tuple[Draw, ...], str]] = OrderedDict()

    def serve(self, call: Call) -> Answers:
        """The call's answer, once it is committed."""
        ticket = Ticket(call)
        self._queue.append(ticket)
        self._called.set()
        if not self._clerks:
            self._hire()
        ticket.done.wait()
        if isinstance(ticket.answer, Answers):
            return ticket.answer
        assert ticket.answer is not None
        raise ticket.answer

    def _hire(self) -> None:
        """Begins with the first call, in the process that serves it: not before a fork."""
        with self._lock:
            while len(self._clerks) < CLERKS:
                clerk = threading.Thread(target=self._work, name="clerk", daemon=True)
                self._clerks.append(clerk)
                clerk.start()

    def _work(self) -> None:
        while True:
            self._called.wait()
            self._called.clear()
            while batch := self._take_batch():
                self._serve_batch(batch)

    def _take_batch(self) -> list[Ticket]:
        batch: list[Ticket] = []
        wished = 0
        while len(batch) < MOST_CALLS and wished < MOST_WISHED:
            try:
                ticket = self._queue.popleft()
            except IndexError:
                break  # empty by now: where clerks are threads, another one may have been faster
            batch.append(ticket)
            wished += ticket.call.wish.most if ticket.call.wish is not None else 0
        return batch

    def _serve_batch(self, batch: list[Ticket]) -> None:
        try:
            answers = self._serve_together([ticket.call for ticket in batch])
        except Exception as fault:  # noqa: BLE001  # whoever called is told; the clerk must go on
            if len(batch) == 1 or isinstance(fault, Unavailable):
                self._answer(batch, [fault] * len(batch))
                return
            # One of them spoils it for the others: each is served by itself.
            log.warning("a batch of %d calls failed (%r); serving one by one", len(batch), fault)
            for ticket in batch:
                self._serve_batch([ticket])
            return
        self._answer(batch, answers)

    def _serve_together(self, calls: list[Call]) -> list[Answers | Later | TaskyardError]:
        with self.database.transaction() as tx:
            answers = serve(tx, self.terms, calls, self._known)
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Answers):
                self._known[call.digest] = answer.agent.draws, answer.agent.own_lane
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return answers

    def _answer(self, batch: list[Ticket], answers: Sequence[Answers | Later | Exception]) -> None:
        for ticket, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Later):
                # At the head of the queue, and this time it waits for what it missed.
                ticket.call = replace(ticket.call, missed=answer.execution_id)
                self._queue.appendleft(ticket)
                self._called.set()
            else:
                ticket.answer = answer
                ticket.done.set()
