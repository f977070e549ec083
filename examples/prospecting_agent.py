#!/usr/bin/env python3
"""An agent of many small actions: it looks things up, writes to people, and finds days that suit.

What it looks up is invented and its letters go nowhere: put your own search and your own mail in
their place. A message whose params say `"reply": true` is reported as blocked once it is out, and
the agent is free for other work; when somebody said that the reply is there, the job goes on.
"""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

from polling import Blocked, Work, main

SECONDS = (0.1, 0.4)  # that a small step takes


def research(work: Work) -> dict[str, Any]:
    """A few findings from each source, and how sure each is."""
    topic = str(work.params.get("topic") or work.title)
    sources = work.params.get("sources") or ["what is on the web"]
    wanted = int(work.params.get("at_least", len(sources)))
    dice = random.Random(topic)  # the same question finds the same
    findings = []
    for number in range(wanted):
        source = sources[number % len(sources)]
        work.progress(100 * number / wanted, f"reads {source}")
        step(work)
        findings.append(
            {
                "finding": f"{topic}: number {number + 1}",
                "source": source,
                "sure": round(dice.uniform(0.6, 0.99), 2),
            }
        )
    return {"topic": topic, "findings": findings}


def send_message(work: Work) -> dict[str, Any]:
    """A message to one or many, with what the jobs before it made; it may have to wait."""
    if work.params.get("reply") and work.attempt > 1:
        # Blocked before, and offered again: somebody said that it came, and perhaps what.
        return {"reply": work.context["answers"]}
    to = work.params.get("to", [])
    addressees = to if isinstance(to, list) else [to]
    for number, addressee in enumerate(addressees):
        work.progress(100 * number / len(addressees), f"writes to {addressee}")
        step(work)
    if work.params.get("reply"):
        raise Blocked(f"a reply from {', '.join(addressees)}", recheck_after=3600)
    subject = work.params.get("subject", work.title)
    return {"sent_to": addressees, "subject": subject, "attached": work.params.get("attach")}


def schedule(work: Work) -> dict[str, Any]:
    """The first working days in the time that is given."""
    first, last = work.params.get("between", ("2027-01-04", "2027-12-17"))
    day = dt.date.fromisoformat(first)
    days: list[str] = []
    while day <= dt.date.fromisoformat(last) and len(days) < int(work.params.get("days", 1)):
        if day.weekday() < 5:
            days.append(day.isoformat())
        day += dt.timedelta(days=1)
    step(work)
    return {"event": work.params.get("event", work.title), "days": days}


def step(work: Work) -> None:
    work.rest(random.uniform(*SECONDS))


if __name__ == "__main__":
    main(__doc__, {"research": research, "send_message": send_message, "schedule": schedule})
