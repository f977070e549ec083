"""What leaves the process after a commit: Dramatiq messages, rings of the bell, nudges to readers.

All three are hints. When one is lost, the clock rings again and readers look again by themselves.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outgoing:
    """What one transaction wants to send once it is committed."""

    rings: Counter[str] = field(default_factory=Counter)  # lane → jobs newly on offer there
    nudges: set[uuid.UUID] = field(default_factory=set)  # executions with new events
    messages: list[tuple[str, str]] = field(default_factory=list)  # actor's name, row id


class Bell(Protocol):
    """Wakes waiting polls and readers, in every web process."""

    def ring(self, lanes: dict[str, int]) -> None: ...

    def nudge(self, executions: set[uuid.UUID]) -> None: ...


class Post(Protocol):
    """Takes a message to an actor."""

    def send(self, actor: str, subject: str) -> None: ...


class Dispatch:
    """Lets go of what was queued. A failure is logged and forgotten: these are hints."""

    def __init__(self, bell: Bell | None = None, post: Post | None = None) -> None:
        self.bell = bell
        self.post = post

    def leave(self, outgoing: Outgoing) -> None:
        try:
            if self.bell is not None:
                # A job that came on offer and was taken again in one transaction rings for nobody.
                lanes = {lane: jobs for lane, jobs in outgoing.rings.items() if jobs > 0}
                if lanes:
                    self.bell.ring(lanes)
                if outgoing.nudges:
                    self.bell.nudge(outgoing.nudges)
            if self.post is not None:
                for actor, subject in outgoing.messages:
                    self.post.send(actor, subject)
        except Exception:
            log.warning("a hint was lost; the clock will ring again", exc_info=True)
