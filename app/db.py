"""The database: the engine, `transaction()`, and the column types that every record shares."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Final

import orjson
import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from uuid_utils.compat import uuid7

from app import green
from app.dispatch import Dispatch, Outgoing
from app.errors import Refused, Unavailable


def dump_json(value: Any) -> bytes:
    return orjson.dumps(value, default=str)  # decimals travel as text and are read back as numeric


def storable(value: Any) -> Any:
    """Free JSON is kept as it came, so it must be something that can be written again."""
    try:
        orjson.dumps(value)
    except TypeError as fault:
        raise ValueError("holds a whole number of more than 64 bits: send it as text") from fault
    return value


set_json_dumps(dump_json)
set_json_loads(orjson.loads)

Json = dict[str, Any]
Row = dict[str, Any]
Tuple = tuple[Any, ...]
Connection = psycopg.Connection[Any]

MONEY: Final = sa.Numeric(14, 6)


def new_id() -> uuid.UUID:
    return uuid7()


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map: ClassVar = {
        dt.datetime: sa.DateTime(timezone=True),
        Json: JSONB,
        list[Any]: JSONB,
        str: sa.Text,
    }


class Record(Base):
    """What every table has: a time-ordered key and the two times."""

    __abstract__ = True

    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid, primary_key=True, default=new_id, sort_order=-1)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=sa.func.now(), sort_order=90)
    updated_at: Mapped[dt.datetime] = mapped_column(
        server_default=sa.func.now(), onupdate=sa.func.now(), sort_order=91
    )


def one_of(column: str, values: Sequence[str]) -> sa.CheckConstraint:
    """A check that a text column holds one of the domain's words."""
    words = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({words})", name=f"{column}_known")


class Transaction:
    """One open transaction: explicit SQL on the hot path, the ORM session for everything else.

    Both speak through the same connection. What must leave the process is put into `outgoing`
    and leaves after the commit.
    """

    def __init__(self, connection: sa.Connection, shift: dt.timedelta) -> None:
        self._connection = connection
        self._session: Session | None = None
        self._now: dt.datetime | None = None
        self._shift = shift
        self.outgoing = Outgoing()
        self._last: list[tuple[str, Mapping[str, Any]]] = []
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        self.sql: Connection = driver

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session = Session(self._connection, expire_on_commit=False)
        return self._session

    @property
    def now(self) -> dt.datetime:
        """The database's time, read once: every verdict of this transaction is handed the same."""
        if self._now is None:
            self.read_now(self.fetch("SELECT now() AS now")["now"])
        assert self._now is not None
        return self._now

    def read_now(self, told: dt.datetime) -> dt.datetime:
        """Takes `now()` as a statement of this transaction told it, which saves asking again."""
        self._now = told + self._shift
        return self._now

    def execute(
        self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> psycopg.Cursor[Row]:
        self.flush()
        return self.sql.cursor(row_factory=dict_row).execute(query.encode(), params)

    def fetch(self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Row:
        row = self.execute(query, params).fetchone()
        assert row is not None, "this statement always answers with a row"
        return row

    def rows(self, query: str, params: Mapping[str, Any]) -> list[Tuple]:
        """The rows as they come, for rows that are read by place."""
        self.flush()
        return self.sql.execute(query.encode(), params).fetchall()

    def together(self, *queries: tuple[str, Mapping[str, Any]]) -> list[list[Tuple]]:
        """Asks several questions in one flight; the answers come in the same order."""
        self.flush()
        with self.sql.pipeline():
            cursors = [self.sql.execute(query.encode(), params) for query, params in queries]
        return [cursor.fetchall() for cursor in cursors]

    def later(self, query: str, params: Mapping[str, Any]) -> None:
        """Queues a statement whose answer nobody needs: it leaves in one flight with the commit."""
        self._last.append((query, params))

    def commit(self) -> None:
        if self._session is not None:
            self._session.flush()
        if self._last:
            with self.sql.pipeline():
                self._send_last()
                # As a statement: psycopg's commit() waits for an answer inside the pipeline, while
                # large statements before it still wait to be sent.
                self.sql.execute(b"COMMIT")
        self._connection.commit()
        self.sql.commit()  # the engine commits only what it began itself

    def _send_last(self) -> None:
        statements, self._last = self._last, []
        cursor = self.sql.cursor()
        for query, params in statements:
            cursor.execute(query.encode(), params)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def flush(self) -> None:
        if self._session is not None:
            self._session.flush()
        if self._last:
            self._send_last()


class Database:
    """The engine and its pool. `shift` moves the time that entries read: only tests move it."""

    def __init__(self, url: str, dispatch: Dispatch, pool_size: int = 10) -> None:
        self.dispatch = dispatch
        self.shift = dt.timedelta(0)
        self.engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=partial(
                connect,
                plain_url(url),
                prepare_threshold=0,
                connect_timeout=5,
                application_name="taskyard",
                options="-c TimeZone=UTC",
            ),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=5,
        )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """The one way to open a transaction. Commits at the end; then what was queued leaves."""
        with reachable():
            connection = self.engine.connect()
        try:
            tx = Transaction(connection, self.shift)
            try:
                with reachable(), unchanged():
                    yield tx
                    tx.commit()
            finally:
                tx.close()
        except Unavailable:
            # Every pooled connection goes to the same server: drop them all, not one a request.
            connection.invalidate()
            self.engine.dispose()
            raise
        finally:
            connection.close()
        self.dispatch.leave(tx.outgoing)


@contextmanager
def unchanged() -> Iterator[None]:
    """Turns a failed guard of a write into one sentence. Where rows are locked, as they are to be,
    this never happens."""
    try:
        yield
    except psycopg.errors.NotNullViolation as fault:
        if fault.diag.column_name != "last_event":
            raise
        raise Refused(
            "Somebody else changed this at the same moment.", hint="Look again, and try again."
        ) from fault


@contextmanager
def reachable() -> Iterator[None]:
    """Turns a lost or refused connection into one sentence, whichever layer noticed it."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as fault:
        raise Unavailable("The database cannot be reached; try again in a moment.") from fault
    except sa.exc.TimeoutError as fault:
        raise Unavailable("Every database connection is in use; try again in a moment.") from fault
    except DBAPIError as fault:
        if fault.connection_invalidated or isinstance(fault.orig, psycopg.OperationalError):
            raise Unavailable("The database cannot be reached; try again in a moment.") from fault
        raise


def connect(url: str, **how: Any) -> green.Connection:
    return green.Connection.connect(url, **how)


def plain_url(url: str) -> str:
    """Heroku writes postgres://."""
    return "postgresql://" + url.removeprefix("postgres://").removeprefix("postgresql://")


def sqlalchemy_url(url: str) -> str:
    return "postgresql+psycopg" + plain_url(url).removeprefix("postgresql")
