"""A reader of server-sent events, as small as the standard allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from tests.fresh import Key


@dataclass(frozen=True)
class Sent:
    id: int | None
    event: str
    data: Any


def parse(chunks: Iterator[str]) -> Iterator[Sent]:
    """Comments and `retry` are passed over; half an event at the end is none."""
    buffer = ""
    for chunk in chunks:
        buffer += chunk
        while "\n\n" in buffer:
            block, buffer = buffer.split("\n\n", 1)
            fields = dict(
                line.split(": ", 1) for line in block.split("\n") if not line.startswith(":")
            )
            if "event" in fields:
                number = int(fields["id"]) if "id" in fields else None
                yield Sent(number, fields["event"], orjson.loads(fields["data"]))


@contextmanager
def listening(
    url: str, key: Key, *, last: int | None = None, timeout: float = 20
) -> Iterator[Iterator[Sent]]:
    """The events of one connection. It is cut where the block is left."""
    headers = key.headers | ({} if last is None else {"Last-Event-ID": str(last)})
    with httpx.stream("GET", url, headers=headers, timeout=timeout) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield parse(answer.iter_text())
