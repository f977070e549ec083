"""Actions: what a leaf asks of whoever does it, and which of them touch the world outside."""

from __future__ import annotations

import re
from typing import Final

ACTION: Final = "^[a-z][a-z0-9_-]{0,63}$"
GENERAL: Final = "general"  # of a leaf that names none

# The lane of people has this name: an agent with such a capability would draw from their inbox.
RESERVED: Final = frozenset({"human"})

OUTWARD_WORDS: Final = """
announce ask book buy call cancel charge close commit contact delete deliver deploy dispatch
email erase execute file hire install invite invoice launch mail merge message migrate notify
order pay phone post procure provision publish purchase push refund register release remove
rent reply request reserve restart rollout sell send share ship sign sms submit subscribe
terminate transfer tweet upload wire
"""
OUTWARD: Final = frozenset(OUTWARD_WORDS.split())


def touches_world(action: str) -> bool:
    """Whether something outside has changed once it is done, so that looking at it afterwards is
    too late: `send_message` does, `write_document` does not."""
    return not OUTWARD.isdisjoint(re.split("[_-]", action))
