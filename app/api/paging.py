"""Lists, a page at a time: newest first, with a cursor that nobody needs to understand."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, Field

from app.api.wire import CURSOR, Answer, Query
from app.db import Record, Transaction

R = TypeVar("R", bound=Record)
T = TypeVar("T", bound=BaseModel)


class Paging(Query):
    limit: int = Field(default=50, ge=1, le=500, description="How many at most")
    cursor: str | None = Field(
        default=None,
        pattern=CURSOR,
        description="`next_cursor` of the page before",
    )


class Page(Answer, Generic[T]):
    """Each list has a type of its own made from this: `class Agents(Page[AgentOut])`."""

    items: list[T]
    next_cursor: str | None = Field(description="For the next page; null on the last")


def read_page(
    tx: Transaction,
    query: sa.Select[R],
    record: type[R],
    paging: Paging,
    show: Callable[[R], T],
) -> dict[str, Any]:
    """Ids are ordered by time, so they order the list and are its cursor: rows that come or go
    meanwhile make no row show twice or not at all."""
    if paging.cursor is not None:
        query = query.where(record.id < read_cursor(paging.cursor))
    rows = tx.session.scalars(query.order_by(record.id.desc()).limit(paging.limit + 1)).all()
    more = len(rows) > paging.limit
    shown = rows[: paging.limit]
    return {
        "items": [show(row) for row in shown],
        "next_cursor": write_cursor(shown[-1].id) if more else None,
    }


def write_cursor(last: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def read_cursor(text: str) -> uuid.UUID:
    return uuid.UUID(bytes=base64.urlsafe_b64decode(text + "=="))
